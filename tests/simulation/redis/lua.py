"""Scripts of a simulated Redis, in real Lua 5.1. One Lua state serves all engines: a script keeps nothing there."""

import json
from hashlib import sha1
from typing import Any, Final

import lupa.lua51

from tests.simulation.redis.engine import Engine
from tests.simulation.redis.values import NilArray, RedisError, Reply, Status

GLOBALS: Final = b"""
local pcall_, sha1hex, encode, decode = ...
local function call(...)
  local reply = pcall_(...)
  if type(reply) == 'table' and reply.err then error(reply, 0) end
  return reply
end
local cjson = {encode = encode, decode = decode, null = {}}
local redis = {
  call = call, pcall = pcall_, sha1hex = sha1hex,
  error_reply = function(text) return {err = text} end,
  status_reply = function(text) return {ok = text} end,
  replicate_commands = function() return true end,
  log = function() end, setresp = function() end,
  LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3,
}
local function unknown(_, name)
  error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 0)
end
local env = setmetatable({
  redis = redis, cjson = cjson, string = string, table = table, math = math, tonumber = tonumber,
  tostring = tostring, type = type, pairs = pairs, ipairs = ipairs, next = next, select = select, unpack = unpack,
  pcall = pcall, error = error, assert = assert, rawget = rawget, rawset = rawset, rawequal = rawequal,
  setmetatable = setmetatable, getmetatable = getmetatable,
}, {__index = unknown, __newindex = unknown})
local function compile(text)
  local script, problem = loadstring(text, '@user_script')
  if not script then return nil, problem end
  return setfenv(script, env)
end
local function run(script, keys, argv)
  rawset(env, 'KEYS', keys)
  rawset(env, 'ARGV', argv)
  local done, reply = pcall(script)
  if done or type(reply) == 'table' then return reply end
  return {err = 'ERR ' .. tostring(reply)}
end
return compile, run
"""


rewrites: Final[list[tuple[bytes, bytes]]] = []
"""What is put in place of what in every script: how a safeguard is taken away."""


class _Interpreter:
    def __init__(self) -> None:
        self._lua = lupa.lua51.LuaRuntime(encoding=None, unpack_returned_tuples=True)
        self._null: Any = self._lua.table()
        self._compiled: dict[bytes, Any] = {}
        self._engine: Engine
        given = (self._pcall, self._sha1hex, self._encode, self._decode)
        self._compile, self._run = self._lua.execute(GLOBALS, *given)

    def run(self, engine: Engine, text: bytes, keys: list[bytes], args: list[bytes]) -> Reply:
        script = self._compiled.get(text)
        if script is None:
            script = self._compiled[text] = self._loaded(text)
        engine.in_script, engine.wrote_in_script = True, False
        self._engine = engine
        try:
            return _reply(self._run(script, self._lua.table_from(keys), self._lua.table_from(args)))
        finally:
            engine.in_script = engine.wrote_in_script = False

    def _loaded(self, text: bytes) -> Any:
        for old, new in rewrites:
            text = text.replace(old, new)
        compiled = self._compile(text)
        if isinstance(compiled, tuple):
            raise RedisError(f"ERR Error compiling script (new function): {compiled[1].decode()}")
        return compiled

    def _pcall(self, *args: Any) -> Any:
        return self._lua_value(self._execute(args))

    def _execute(self, args: tuple[Any, ...]) -> Reply:
        try:
            return self._engine.execute([_argument(value) for value in args])
        except RedisError as error:
            return error

    def _lua_value(self, reply: Reply) -> Any:
        match reply:
            case Status():
                return self._lua.table_from({b"ok": bytes(reply)})
            case None | NilArray():
                return False
            case list():
                return self._lua.table_from([self._lua_value(one) for one in reply])
            case RedisError():
                return self._lua.table_from({b"err": str(reply).encode()})
        return reply

    def _sha1hex(self, text: Any) -> bytes:
        return sha1(_argument(text), usedforsecurity=False).hexdigest().encode()

    def _encode(self, value: Any) -> bytes:
        return json.dumps(_plain(value), separators=(",", ":")).encode()

    def _decode(self, text: bytes) -> Any:
        return self._from_json(json.loads(text))

    def _from_json(self, value: Any) -> Any:
        match value:
            case str():
                return value.encode()
            case dict():
                return self._lua.table_from({key.encode(): self._from_json(one) for key, one in value.items()})
            case list():
                return self._lua.table_from([self._from_json(one) for one in value])
            case None:
                return self._null
        return value


def _argument(value: Any) -> bytes:
    match value:
        case bytes():
            return value
        case bool():
            pass
        case int():
            return b"%d" % value
        case float():
            return b"%d" % value if value.is_integer() and abs(value) < 1e17 else b"%.17g" % value
    raise RedisError("ERR Lua redis lib command arguments must be strings or integers")


def _reply(value: Any) -> Reply:  # noqa: PLR0911 - one for each type
    match value:
        case bytes():
            return value
        case bool():
            return 1 if value else None
        case int() | float():
            return int(value)
        case None:
            return None
        case BaseException():  # raised while the script ran, and by nothing in it
            raise value
    if (error := value[b"err"]) is not None:
        return RedisError(error.decode())
    if (status := value[b"ok"]) is not None:
        return Status(status)
    answer: list[Reply] = []
    while (element := value[len(answer) + 1]) is not None:
        answer.append(_reply(element))
    return answer


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if not hasattr(value, "items"):
        return value
    pairs = dict(value.items())
    if pairs and all(isinstance(key, int) for key in pairs):
        return [_plain(pairs[index]) for index in sorted(pairs)]
    return {_plain(key): _plain(one) for key, one in pairs.items()}


_interpreter: Final = _Interpreter()


def run_script(engine: Engine, digest: bytes, keys: list[bytes], args: list[bytes]) -> Reply:
    return _interpreter.run(engine, engine.scripts[digest], keys, args)
