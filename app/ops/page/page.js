// The page as a whole: what it says at one glance, and what keeps it fresh.

import { ask, enterToken, explain, forgetToken, hasToken, Refused } from "/ask.js";
import { showChart } from "/chart.js";
import { showLanes } from "/lanes.js";
import { showLetters } from "/letters.js";
import { byId, duration, element, plural, sentence, several, time, title, write, zone } from "/make.js";

const EVERY = 2000;
const EVERY_HIDDEN = 15000;
const STALE = 10;
const HIDDEN_FIELDS = new Set(["event", "level", "timestamp", "advice"]);
const SIGNS = { good: "✓", warning: "!", bad: "✕", unknown: "?" };
const COLOURS = { good: "#11703c", warning: "#b06a00", bad: "#b3261e", unknown: "#5b6672" };

let status = null;
let answeredAt = 0;
let problem = "Asking…";
let timer = 0;

function icon(level) {
  const drawn =
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="8" fill="${COLOURS[level]}"/>` +
    `<text x="8" y="12" text-anchor="middle" font-family="sans-serif" font-weight="bold" font-size="11" fill="#fff">${SIGNS[level]}</text></svg>`;
  const href = `data:image/svg+xml,${encodeURIComponent(drawn)}`;
  const link = document.querySelector("link[rel=icon]");
  if (link.href !== href) link.href = href;
}

function headline(level, words) {
  document.querySelector("header").dataset.level = level;
  write(byId("sign"), SIGNS[level]);
  write(byId("overall"), words);
  document.title = `${SIGNS[level]} ${words} · cdr-forwarder`;
  icon(level);
}

function about(seconds) {
  const name = status.private ? ` ${status.private.integrator}` : "";
  const age = `updated ${duration(seconds)} ago`;
  return `cdr-forwarder${name} ${status.version} · ${age} · times are ${zone()}`;
}

function events(list) {
  return list.toReversed().map((event) => {
    const item = element("li");
    const fields = Object.entries(event).filter(([name]) => !HIDDEN_FIELDS.has(name));
    const said = fields.map(([name, value]) => `${name}=${typeof value === "object" ? JSON.stringify(value) : value}`);
    const advice = event.advice ? ` → ${event.advice}` : "";
    item.append(time(event.timestamp), element("span", event.event, { class: event.level }), ` ${said.join(" ")}${advice}`);
    return item;
  });
}

function processRow(process) {
  const row = element("tr");
  const since = element("td");
  since.append(time(process.started_at));
  const delivered = String(process.delivered);
  const reported = process.reported_seconds_ago === null ? "-" : `${duration(Math.max(0, process.reported_seconds_ago))} ago`;
  const where = several(status) ? `${process.source} ${process.slot}` : process.slot;
  const slot = `${where}${process.answers ? ", here" : ""}`;
  const host = process.host || "-";
  row.append(element("td", slot), element("td", host), element("td", process.version), since, element("td", delivered), element("td", reported));
  return row;
}

// What is said in the title and on a card is not said again.
function troubles() {
  const cards = status.lanes.map((lane) => `${title(lane, status)}: `);
  return status.troubles.filter((one) => !cards.some((start) => one.words.startsWith(start)));
}

function show() {
  const seconds = (Date.now() - answeredAt) / 1000 + (status?.seen_seconds_ago || 0);
  document.body.dataset.stale = String(Boolean(problem) || seconds > STALE);
  if (!status) return headline("unknown", problem);
  // An endpoint that is down is so for each source that goes to it.
  const more = new Set(status.troubles.map((one) => one.short)).size - 1;
  if (problem) headline("unknown", problem);
  else headline(status.level, more > 0 ? `${status.short}, and ${plural(more, "more thing")}` : status.short);
  write(byId("about"), about(seconds));
  return seconds;
}

function fill() {
  byId("enter").hidden = !status.actions || status.trusted;
  byId("forget").hidden = !status.trusted;
  write(byId("trust"), status.actions ? "" : "Set CDR_OPS_TOKEN to see more, and to act.");
  const told = troubles();
  byId("troubles").hidden = !told.length;
  const items = told.map((one) => element("li", sentence(one.words), { "data-level": one.level }));
  if (byId("troubles").textContent !== told.map((one) => sentence(one.words)).join("")) byId("troubles").replaceChildren(...items);
  byId("to-distribute").hidden = !status.to_distribute;
  write(byId("to-distribute"), `${plural(status.to_distribute || 0, "CDR")} not yet distributed to the endpoints.`);
  write(byId("process-number"), `(${status.processes.length})`);
  byId("processes").tBodies[0].replaceChildren(...status.processes.map(processRow));
  byId("events-part").hidden = !status.private;
  byId("events").replaceChildren(...(status.private ? events(status.private.events) : []));
  showLanes(status);
  showChart(status);
  showLetters(status);
}

async function refresh() {
  clearTimeout(timer);
  try {
    status = await ask(`/api/status?utc_offset=${-new Date().getTimezoneOffset()}`);
    answeredAt = Date.now();
    problem = "";
    fill();
  } catch (error) {
    // The token of another process, or of an earlier configuration: without it, the rest can still be seen.
    if (error instanceof Refused && [401, 403].includes(error.status) && hasToken()) {
      forgetToken();
      return refresh();
    }
    problem = explain(error);
  }
  show();
  timer = setTimeout(refresh, document.hidden ? EVERY_HIDDEN : EVERY);
}

byId("enter").addEventListener("click", async () => {
  if (await enterToken()) await refresh();
});
byId("forget").addEventListener("click", () => {
  forgetToken();
  refresh();
});
document.addEventListener("visibilitychange", () => document.hidden || refresh());
document.addEventListener("refresh", refresh);
setInterval(show, 1000);
refresh();
