"""Make all attacks, one after the other, and print what they cost."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from redis.asyncio import Redis

from app.demo.embedded import EmbeddedRedis
from tests.attacks.attacks import ATTACKS
from tests.attacks.scene import MIB, measured, scene_on

ROW = "{:24} {:>8} {:>10} {:>10} {:>12} {:>12} {:>14}  {}"


async def attack_all() -> None:
    print(ROW.format("attack", "seconds", "MiB more", "kB of log", "descriptors", "CDRs/s", "slowest, ms", "seen"))
    for attack in ATTACKS:
        with TemporaryDirectory() as name:
            directory = Path(name)
            (directory / "redis").mkdir()
            with EmbeddedRedis(directory / "redis", appendonly=False) as redis:
                async with (
                    Redis.from_url(redis.url, protocol=2) as client,
                    scene_on(redis, client, directory, "attacked") as scene,
                ):
                    cost = await measured(scene, attack)
        numbers = (f"{cost.seconds:.1f}", f"{cost.memory / MIB:.1f}", f"{cost.log / 1000:.1f}", cost.descriptors)
        print(ROW.format(attack.__name__, *numbers, f"{cost.deliveries:.0f}", f"{cost.slowest:.1f}", cost.found))


if __name__ == "__main__":
    asyncio.run(attack_all())
