// The dead letters: a table that is searched and paged, what one of them holds, and what becomes of a replay.

import { act, ask, explain, Refused } from "/ask.js";
import { byId, element, failure, number, offer, plural, sentence, time, write } from "/make.js";

const FOLLOWED = 1000;
const EVERY = 2000;

let shown = [];
let next = null;
let known = "";
let several = false;
const selected = new Map();

const key = (letter) => letter.letter || letter.id;
const why = (letter) => `${letter.reason.replaceAll("_", " ")} ${failure(letter.status)}`.replace(/ -$/, "");
const lane = (letter) => (several ? `${letter.endpoint}, from ${letter.source}` : letter.endpoint);
const tell = (text) => write(byId("outcome"), text);

// Returns what the filter says, in the words of the API.
function filter() {
  const fields = byId("filter").elements;
  const wanted = {};
  for (const name of ["text", "endpoint", "source", "reason"]) if (fields[name].value) wanted[name] = fields[name].value.trim();
  if (fields.status.value) wanted.status = Number(fields.status.value);
  return wanted;
}

function row(letter) {
  const made = element("tr");
  const box = element("input", "", { type: "checkbox", "aria-label": `Select ${letter.id}` });
  box.checked = selected.has(key(letter));
  box.addEventListener("change", () => {
    if (box.checked) selected.set(key(letter), letter);
    else selected.delete(key(letter));
    showSelection();
  });
  const button = element("button", "Show", { type: "button", "aria-label": `Show the CDR of ${letter.id}` });
  button.addEventListener("click", () => showLetter(letter));
  const cells = [box, time(letter.dead_at), lane(letter), why(letter), number(letter.attempts), element("code", letter.id), button];
  cells.forEach((content, index) => {
    const cell = element("td", "", index === 4 || index === 5 ? { class: "more" } : {});
    cell.append(content);
    made.append(cell);
  });
  return made;
}

function unread(found) {
  return found.unread?.length ? ` Without those of ${found.unread.join(", ")}, which cannot be read now.` : "";
}

function showSelection() {
  const number = selected.size;
  write(byId("replay"), number ? `Replay ${plural(number, "selected one", "selected")}…` : "Replay all that match…");
  write(byId("drop"), number ? `Drop ${plural(number, "selected one", "selected")}…` : "Drop all that match…");
  byId("select-all").checked = shown.length > 0 && shown.every((letter) => selected.has(key(letter)));
}

async function search(after = "") {
  try {
    const found = await ask("/api/dead-letters/search", after ? { ...filter(), after } : filter());
    shown = found.letters;
    next = found.next;
    byId("letters").tBodies[0].replaceChildren(...shown.map(row));
    byId("letters").hidden = !shown.length;
    byId("older").disabled = !next;
    byId("newer").disabled = !after;
    const further = !shown.length && next ? "; Older looks further" : "";
    write(byId("found"), `${plural(shown.length, "letter")} here, of ${number(found.number)} in all; looked through ${number(found.read)}${further}.${unread(found)}`);
    showSelection();
  } catch (error) {
    write(byId("found"), sentence(explain(error)));
  }
}

// Only where nothing is changed by it: a number of twenty digits, or a name that comes twice, would be.
function pretty(content) {
  const text = content.cdr ?? content.element ?? content.cdr_base64 ?? content.element_base64 ?? "";
  const compact = text.replace(/"(?:\\.|[^"\\])*"|\s+/g, (part) => (part[0] === '"' ? part : ""));
  try {
    const parsed = JSON.parse(text);
    return JSON.stringify(parsed) === compact ? JSON.stringify(parsed, null, 2) : text;
  } catch {
    return text; // no JSON: as it is
  }
}

async function showLetter(letter) {
  try {
    const found = await act(`/api/dead-letters/${encodeURIComponent(letter.id)}`);
    const one = found.find((each) => key(each) === key(letter)) || found[0];
    write(byId("letter-title"), one.id);
    const facts = { endpoint: lane(one), reason: why(one), attempts: number(one.attempts), "first failed": time(one.first_failed_at), died: time(one.dead_at), bytes: number(one.bytes) };
    if (one.damaged) facts.damaged = one.damaged;
    byId("letter").querySelector("dl").replaceChildren(...Object.entries(facts).map(([name, value]) => {
      const pair = element("div"), cell = element("dd");
      cell.append(value);
      pair.append(element("dt", name), cell);
      return pair;
    }));
    write(byId("answer"), one.answer || "none");
    write(byId("cdr"), pretty(one));
    byId("copy").onclick = () => copy(one.cdr ?? byId("cdr").textContent);
    write(byId("copy"), "Copy CDR");
    byId("replay-one").hidden = Boolean(one.damaged);
    byId("replay-one").onclick = () => {
      byId("letter").close();
      change("replay", { ids: [key(one)] });
    };
    byId("letter").showModal();
  } catch (error) {
    tell(sentence(explain(error)));
  }
}

// The clipboard is there only over HTTPS or on this host; elsewhere the text is selected, to be copied by hand.
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    write(byId("copy"), "Copied");
  } catch {
    getSelection().selectAllChildren(byId("cdr"));
    write(byId("copy"), document.execCommand("copy") ? "Copied" : "Selected: press Ctrl+C");
  }
}

function confirmed(action, counted) {
  const drops = action === "drop";
  const what = plural(counted.matching, "dead letter");
  write(byId("question"), drops ? `Drop ${what} for good?` : `Replay ${what}?`);
  byId("of-what").replaceChildren(...counted.of.map((kind) => element("li", `${number(kind.number)} of ${lane(kind)}: ${why(kind)}`)));
  const yes = byId("confirm").querySelector("[value=yes]");
  yes.className = drops ? "danger" : "main";
  write(yes, drops ? `Drop ${number(counted.matching)} for good` : `Replay ${number(counted.matching)}`);
  byId("confirm").returnValue = "no";
  byId("confirm").showModal();
  return new Promise((resolve) => {
    byId("confirm").addEventListener("close", () => resolve(byId("confirm").returnValue === "yes"), { once: true });
  });
}

// Says which: what is selected, or else all that the filter matches.
function wanted() {
  if (selected.size) return { ids: [...selected.keys()] };
  const all = filter();
  return Object.keys(all).length ? all : { all: true };
}

async function change(action, body) {
  const path = `/api/dead-letters/${action}`;
  const replayed = {};
  let done = 0, since = null, left = "";
  try {
    const counted = await act(path, { ...body, dry_run: true });
    if (!counted.matching) return tell("No dead letter matches.");
    if (!(await confirmed(action, counted))) return tell("Nothing was done.");
    for (let more = true; more && done < counted.matching; ) {
      const part = await act(path, body);
      done += part.done;
      more = part.more;
      since ??= part.since;
      for (const [name, cdrs] of Object.entries(part.replayed || {})) (replayed[name] ??= []).push(...cdrs);
      left = unread(part);
      tell(`${number(done)} of ${number(counted.matching)} ${action === "drop" ? "dropped" : "replayed"}…`);
    }
    tell(action === "drop" ? `Dropped ${number(done)}.${left}` : `Replayed ${number(done)}.${left}`);
  } catch (error) {
    tell(`${sentence(explain(error))} ${number(done)} were done before.`);
  }
  selected.clear();
  await search();
  document.dispatchEvent(new Event("refresh"));
  if (action === "replay" && done) follow({ replayed: first(replayed), since }, done);
  return null;
}

function first(replayed) {
  let room = FOLLOWED;
  return Object.fromEntries(Object.entries(replayed).map(([name, cdrs]) => {
    const kept = cdrs.slice(0, room);
    room -= kept.length;
    return [name, kept];
  }));
}

// Asks what has become of replayed CDRs, until each is delivered, or dead again.
async function follow(replay, done) {
  const said = done > FOLLOWED ? `Replayed ${number(done)}; of the first ${number(FOLLOWED)}` : `Replayed ${number(done)}`;
  try {
    const found = await ask("/api/dead-letters/outcome", replay);
    const parts = [`${number(found.delivered)} delivered`];
    if (found.waiting) parts.push(`${number(found.waiting)} still to be tried`);
    if (found.dead) parts.push(`${number(found.dead)} dead again`);
    const sure = found.complete ? "" : " (too many wait to be sure)";
    tell(`${said}: ${parts.join(", ")}${sure}.`);
    if (!found.waiting && found.complete) return;
  } catch (error) {
    if (error instanceof Refused && error.status === 401) return;
  }
  setTimeout(() => follow(replay, done), EVERY);
}

export function showLetters(status) {
  const dead = status.lanes.reduce((sum, lane) => sum + lane.dead, 0);
  const howTo = status.actions ? "Enter the token to see them." : "With CDR_OPS_TOKEN set they can be seen and replayed here.";
  write(byId("dead-number"), dead ? `${plural(dead, "dead letter")}. ${status.trusted ? "" : howTo}` : "None.");
  byId("dead").hidden = !status.trusted || !dead;
  several = status.sources.length > 1;
  offer(byId("filter").elements.endpoint, status.lanes.map((one) => one.endpoint));
  offer(byId("filter").elements.source, status.sources.map((source) => source.name));
  byId("of-source").hidden = !several;
  // The table is read again only where their number has changed and nobody has selected any.
  const now = `${status.trusted} ${dead}`;
  if (status.trusted && dead && now !== known && !selected.size) search();
  known = now;
}

byId("filter").addEventListener("submit", (event) => {
  event.preventDefault();
  selected.clear();
  search();
});
byId("older").addEventListener("click", () => search(next));
byId("newer").addEventListener("click", () => search());
byId("select-all").addEventListener("change", (event) => {
  for (const letter of shown) {
    if (event.target.checked) selected.set(key(letter), letter);
    else selected.delete(key(letter));
  }
  byId("letters").tBodies[0].replaceChildren(...shown.map(row));
  showSelection();
});
byId("replay").addEventListener("click", () => change("replay", wanted()));
byId("drop").addEventListener("click", () => change("drop", wanted()));
