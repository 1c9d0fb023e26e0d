"use strict";

const EVERY = 2000;
const HIDDEN_FIELDS = new Set(["event", "level", "timestamp", "advice"]);
const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString("en");

// Whatever is in Redis may be anybody's: all of it becomes text, and none of it HTML.
function element(name, text = "", attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function duration(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

function result(lane) {
  if (!lane.last_attempt_at) return "none yet";
  return `${lane.last_status || lane.last_result}, ${new Date(lane.last_attempt_at).toLocaleTimeString()}`;
}

function plot(title, minutes, value, shown) {
  const values = minutes.map(value);
  const most = Math.max(...values, 0);
  const caption = values.length
    ? `${title}: ${shown(values[values.length - 1])} in the last minute, ${shown(most)} at most in the last hour`
    : `${title}: the first minute is not over yet`;
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("viewBox", "0 0 60 20");
  drawing.setAttribute("preserveAspectRatio", "none");
  drawing.setAttribute("role", "img");
  drawing.setAttribute("aria-label", caption);
  values.forEach((each, index) => {
    const bar = document.createElementNS(SVG, "rect");
    const height = most ? (20 * each) / most : 0;
    const place = { x: 60 - values.length + index + 0.1, y: 20 - height, width: 0.8, height };
    for (const [key, part] of Object.entries(place)) bar.setAttribute(key, part);
    drawing.append(bar);
  });
  const figure = element("figure");
  figure.append(drawing, element("figcaption", caption));
  return figure;
}

function card(lane) {
  const made = element("article", "", { class: "card", "data-state": lane.state });
  const heading = element("h3", lane.endpoint);
  heading.append(element("span", lane.state, { class: "state" }));
  const facts = {
    pending: number(lane.pending),
    "oldest unchanged for": lane.pending ? duration(lane.pending_head_age_seconds) : "-",
    "in processing": number(lane.processing),
    "in flight": `${number(lane.in_flight)}, ${number(lane.prefetched)} prefetched`,
    "oldest in flight": lane.in_flight ? duration(lane.oldest_in_flight_seconds) : "-",
    deferred: lane.retrying ? `${number(lane.retry + lane.retrying)}, ${number(lane.retrying)} under way` : number(lane.retry),
    "dead letters": number(lane.dead),
    "last result": result(lane),
    delivered: number(lane.delivered),
    "last delivery": lane.last_delivery_at ? new Date(lane.last_delivery_at).toLocaleTimeString() : "none yet",
  };
  const list = element("dl");
  for (const [name, value] of Object.entries(facts)) {
    const pair = element("div");
    pair.append(element("dt", name), element("dd", value));
    list.append(pair);
  }
  const plots = element("div", "", { class: "plots" });
  plots.append(
    plot("Delivered", lane.hour, (minute) => minute.delivered, number),
    plot("Claim to ack, p99", lane.hour, (minute) => minute.p99 || 0, (seconds) => `≤ ${duration(seconds)}`),
  );
  made.append(heading, element("p", lane.words), element("p", lane.url, { class: "url" }), list, plots);
  return made;
}

function eventItem(event) {
  const item = element("li");
  const fields = Object.entries(event).filter(([name]) => !HIDDEN_FIELDS.has(name));
  const said = fields.map(([name, value]) => `${name}=${typeof value === "object" ? JSON.stringify(value) : value}`);
  item.append(
    element("span", `${new Date(event.timestamp).toLocaleTimeString()} `, { class: "quiet" }),
    element("span", event.event, { class: event.level }),
    element("span", ` ${said.join(" ")} ${event.advice ? "- " + event.advice : ""}`),
  );
  return item;
}

function alarm(lines) {
  byId("alarm").hidden = !lines.length;
  const text = lines.join("\n");
  if (byId("alarm").textContent !== text) byId("alarm").textContent = text; // a screen reader says it once
}

function show(status) {
  const slot = status.slot ? `slot ${status.slot}` : "no slot";
  byId("about").textContent =
    `${status.integrator} ${status.version} on ${status.host}, ${slot}, since ` +
    `${new Date(status.started_at).toLocaleString()}; Redis ${status.redis.url}`;
  const waiting = status.source.distributed ? `: ${number(status.source.pending)} CDRs wait to be distributed` : "";
  byId("source").textContent = `Source ${status.source.key}${waiting}`;
  alarm(status.unready);
  byId("endpoints").replaceChildren(...status.lanes.map(card));
  byId("events").replaceChildren(...status.events.reverse().map(eventItem));
  const names = status.lanes.map((lane) => lane.endpoint);
  const choice = byId("selection").elements.endpoint;
  if (choice.length !== names.length + 1) {
    choice.replaceChildren(element("option", "all", { value: "" }), ...names.map((name) => element("option", name)));
  }
  const dead = status.lanes.reduce((sum, lane) => sum + lane.dead, 0);
  byId("selection").hidden = !(status.actions && dead);
  byId("dead-number").textContent =
    dead && !status.actions ? `${number(dead)}. With CDR_OPS_TOKEN they can be replayed here.` : number(dead);
  return dead;
}

function letterRow(letter) {
  const row = element("tr");
  for (const field of ["id", "endpoint", "reason", "status", "attempts", "dead_at"]) {
    row.append(element("td", letter[field] === null ? "-" : String(letter[field])));
  }
  const cell = element("td");
  const button = element("button", "Show");
  button.setAttribute("aria-label", `Show the CDR of ${letter.id}`);
  button.addEventListener("click", () => showLetter(letter.id));
  cell.append(button);
  row.append(cell);
  return row;
}

async function ask(path, options = {}) {
  const answer = await fetch(path, { ...options, signal: AbortSignal.timeout(30000) });
  if (!answer.ok) throw new Error((await answer.text()).trim() || `status ${answer.status}`);
  return answer.json();
}

const authorization = () => ({ authorization: `Bearer ${byId("selection").elements.token.value}` });

function post(action, body) {
  const headers = { ...authorization(), "content-type": "application/json" };
  return ask(`/api/dead-letters/${action}`, { method: "POST", headers, body: JSON.stringify(body) });
}

async function showLetter(id) {
  try {
    const found = await ask(`/api/dead-letters/${encodeURIComponent(id)}`, { headers: authorization() });
    byId("letter").querySelector("pre").textContent = JSON.stringify(found, null, 2);
    byId("letter").showModal();
  } catch (error) {
    byId("done").textContent = error.message;
  }
}

function selected() {
  const fields = byId("selection").elements;
  const body = {};
  for (const name of ["endpoint", "reason", "older_than"]) if (fields[name].value) body[name] = fields[name].value;
  return Object.keys(body).length ? body : { all: true };
}

function confirmed(question) {
  byId("question").textContent = question;
  byId("confirm").returnValue = "no";
  byId("confirm").showModal();
  return new Promise((resolve) => {
    byId("confirm").addEventListener("close", () => resolve(byId("confirm").returnValue === "yes"), { once: true });
  });
}

async function act(action) {
  const said = { replay: ["Replay", "replayed"], drop: ["Remove for good", "dropped"] }[action];
  try {
    const body = selected();
    const { matching } = await post(action, { ...body, dry_run: true });
    if (!matching || !(await confirmed(`${said[0]} ${number(matching)} dead letters?`))) {
      byId("done").textContent = matching ? "Nothing was done." : "No dead letter is like that.";
      return;
    }
    let done = 0;
    for (let more = true; more && done < matching; ) {
      const part = await post(action, body);
      done += part.done;
      more = part.more;
      byId("done").textContent = `${number(done)} ${said[1]}`;
    }
  } catch (error) {
    byId("done").textContent = error.message;
  }
  refreshLetters();
}

async function refreshLetters() {
  const found = await ask("/api/dead-letters");
  byId("letters").hidden = !found.letters.length;
  byId("letters").tBodies[0].replaceChildren(...found.letters.map(letterRow));
}

let known = -1;

async function refresh() {
  try {
    const dead = show(await ask("/api/status"));
    if (dead !== known) await refreshLetters();
    known = dead;
  } catch (error) {
    alarm([`This process does not answer: ${error.message}`]);
  }
  setTimeout(refresh, EVERY);
}

for (const button of document.querySelectorAll("[data-action]")) {
  button.addEventListener("click", () => act(button.dataset.action));
}
refresh();
