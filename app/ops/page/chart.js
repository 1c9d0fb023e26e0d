// Draws what was delivered, what failed and what waited: two plots over one axis of time.

import { ask } from "/ask.js";
import { byId, clock, duration, number, offer, plural, shape, title, write } from "/make.js";

const EVERY = { 1: 5000, 24: 30000 };
const TOP = 20, UPPER = 120, GAP = 26, LOWER = 70, AXIS = 22, LEFT = 52, RIGHT = 8;
const HEIGHT = TOP + UPPER + GAP + LOWER + AXIS;
const FLOOR = TOP + UPPER, GROUND = FLOOR + GAP + LOWER;

let data = null;
let askedAt = 0;
let drawn = null;
let cursor = null;

const form = () => byId("choice").elements;
const hours = () => Number(form().hours.value);
const minuteNow = () => Math.floor(Date.now() / 60000);

// Returns each minute of one endpoint, or of all together, with what is known of it.
function chosen() {
  const lanes = data.lanes.filter((lane) => [lane.endpoint, ""].includes(form().endpoint.value));
  const last = minuteNow(), first = last - 60 * hours() + 1;
  const minutes = Array.from({ length: 60 * hours() }, (_, index) => ({
    at: first + index, delivered: 0, failed: 0, backlog: 0, known: false, out: [],
  }));
  for (const lane of lanes) {
    let out = false;
    for (const [at, delivered, failed, backlog] of lane.minutes) {
      const minute = minutes[at - first];
      // It lasts while CDRs wait, and ends with a delivery; a minute may pass without a try.
      out = !delivered && (failed > 0 || (out && backlog > 0));
      if (!minute) continue;
      minute.delivered += delivered;
      minute.failed += failed;
      minute.backlog += backlog;
      minute.known = true;
      if (out) minute.out.push(lane.endpoint);
    }
  }
  return minutes;
}

function buckets(minutes) {
  const size = hours() === 1 ? 1 : 10;
  const made = [];
  for (let at = 0; at < minutes.length; at += size) {
    const part = minutes.slice(at, at + size);
    const sum = (name) => part.reduce((total, minute) => total + minute[name], 0);
    made.push({
      at: part[0].at, size, delivered: sum("delivered"), failed: sum("failed"),
      backlog: Math.max(...part.map((minute) => minute.backlog)),
      known: part.some((minute) => minute.known), out: [...new Set(part.flatMap((minute) => minute.out))],
    });
  }
  return made;
}

// Returns where runs of minutes begin and end for which `holds` is true.
function runs(minutes, holds) {
  const found = [];
  minutes.forEach((minute, index) => {
    if (!holds(minute)) return;
    if (found.length && found.at(-1)[1] === index) found.at(-1)[1] = index + 1;
    else found.push([index, index + 1]);
  });
  return found;
}

function nice(most) {
  const power = 10 ** Math.floor(Math.log10(Math.max(most, 4) / 4));
  const step = [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => Number.isInteger(each) && each * 4 >= most);
  return 4 * (step || 10 * power);
}

function axis(drawing, title, most, top, height, width) {
  for (const part of [0, 0.5, 1]) {
    const y = top + height * (1 - part);
    drawing.append(shape("line", { x1: LEFT, x2: width - RIGHT, y1: y, y2: y, class: "grid" }));
    drawing.append(shape("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, number(most * part)));
  }
  drawing.append(shape("text", { x: LEFT, y: top - 6, class: "title" }, title));
}

function times(drawing, minutes, x, width) {
  const narrow = width < 520;
  const step = hours() === 1 ? (narrow ? 20 : 10) : (narrow ? 360 : 180);
  const offset = -new Date(minutes[0].at * 60000).getTimezoneOffset();
  minutes.forEach((minute, index) => {
    if ((minute.at + offset) % step) return;
    drawing.append(shape("line", { x1: x(index), x2: x(index), y1: GROUND, y2: GROUND + 4, class: "tick" }));
    const text = new Date(minute.at * 60000).toTimeString().slice(0, 5);
    const edge = x(index) < LEFT + 16 ? "start" : x(index) > width - 24 ? "end" : "middle";
    drawing.append(shape("text", { x: x(index), y: GROUND + 17, "text-anchor": edge }, text));
  });
}

function bands(drawing, minutes, x) {
  const firstKnown = minutes.findIndex((minute) => minute.known);
  const isGap = (minute) => !minute.known && firstKnown >= 0 && minute.at > minutes[firstKnown].at && minute.at < minuteNow();
  const kinds = { outage: runs(minutes, (minute) => minute.out.length), gap: runs(minutes, isGap) };
  for (const [name, found] of Object.entries(kinds)) {
    for (const [from, to] of found) {
      drawing.append(shape("rect", { x: x(from), width: x(to) - x(from), y: TOP, height: GROUND - TOP, class: name }));
    }
  }
}

function bars(drawing, parts, x, most) {
  const y = (value) => FLOOR - (value / most) * UPPER;
  parts.forEach((part, index) => {
    const at = x(index * part.size), width = Math.max(1, (x((index + 1) * part.size) - at) * 0.8);
    const top = y(part.delivered);
    if (part.delivered) drawing.append(shape("rect", { x: at, y: top, width, height: FLOOR - top, class: "delivered" }));
    if (part.failed) drawing.append(shape("rect", { x: at, y: y(part.delivered + part.failed), width, height: top - y(part.delivered + part.failed), class: "failed" }));
  });
}

function area(drawing, parts, x, most) {
  const y = (value) => GROUND - (value / most) * LOWER;
  for (const [from, to] of runs(parts, (part) => part.known)) {
    const points = parts.slice(from, to).map((part, index) => `${x((from + index + 0.4) * part.size)},${y(part.backlog)}`);
    const left = x((from + 0.4) * parts[0].size), right = x((to - 0.6) * parts[0].size);
    drawing.append(shape("path", { d: `M${left},${GROUND}L${points.join("L")}L${right},${GROUND}Z`, class: "backlog-area" }));
    drawing.append(shape("polyline", { points: points.join(" "), class: "backlog" }));
  }
}

function draw() {
  if (!data) return;
  const width = Math.max(280, byId("chart").clientWidth);
  const minutes = chosen(), parts = buckets(minutes);
  const x = (index) => LEFT + (index / minutes.length) * (width - LEFT - RIGHT);
  const attempts = nice(Math.max(...parts.map((part) => part.delivered + part.failed)));
  const backlog = nice(Math.max(...parts.map((part) => part.backlog)));
  const drawing = shape("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", tabindex: 0, "aria-label": summary(parts) });
  bands(drawing, minutes, x);
  axis(drawing, hours() === 1 ? "CDRs a minute" : "CDRs in 10 minutes", attempts, TOP, UPPER, width);
  axis(drawing, "backlog", backlog, FLOOR + GAP, LOWER, width);
  times(drawing, minutes, x, width);
  bars(drawing, parts, x, attempts);
  area(drawing, parts, x, backlog);
  drawing.append(shape("line", { y1: TOP, y2: GROUND, class: "cursor", visibility: "hidden" }));
  const hadFocus = document.activeElement?.parentElement === byId("chart");
  byId("chart").replaceChildren(drawing);
  drawn = { drawing, parts, x, width };
  if (hadFocus) drawing.focus();
  point();
}

function summary(parts) {
  const sum = (name) => number(parts.reduce((total, part) => total + part[name], 0));
  const outages = runs(parts, (part) => part.out.length).length;
  return `${sum("delivered")} delivered, ${sum("failed")} attempts failed${outages ? `, ${plural(outages, "outage")}` : ""}, backlog ${number(parts.at(-1).backlog)}`;
}

// Shows the values under the cursor, which is a time, so that it stays where it is when the chart moves on.
function point() {
  const { drawing, parts, x } = drawn;
  const index = parts.findIndex((part) => cursor !== null && cursor >= part.at && cursor < part.at + part.size);
  const line = drawing.querySelector(".cursor");
  line.setAttribute("visibility", index < 0 ? "hidden" : "visible");
  if (index < 0) return write(byId("reading"), `${summary(parts)}.`);
  const part = parts[index];
  const at = x((index + 0.4) * part.size);
  line.setAttribute("x1", at);
  line.setAttribute("x2", at);
  const when = clock(new Date(part.at * 60000));
  const out = part.out.length ? `; nothing delivered to ${part.out.join(", ")}` : "";
  const values = `${number(part.delivered)} delivered, ${number(part.failed)} failed, backlog ${number(part.backlog)}${out}`;
  return write(byId("reading"), `${when}: ${part.known ? values : "no forwarder ran"}.`);
}

function move(event) {
  const { drawing, parts, width } = drawn;
  const part = (event.clientX - drawing.getBoundingClientRect().left - LEFT) / (width - LEFT - RIGHT);
  cursor = part < 0 || part > 1 ? null : parts[Math.min(parts.length - 1, Math.floor(part * parts.length))].at;
  point();
}

function step(event) {
  const steps = { ArrowLeft: -1, ArrowRight: 1 };
  if (!(event.key in steps) || !drawn) return;
  event.preventDefault();
  const { parts } = drawn;
  const last = parts.length - 1;
  const at = parts.findIndex((part) => part.at === cursor);
  cursor = parts[at < 0 ? last : Math.min(last, Math.max(0, at + steps[event.key]))].at;
  point();
}

function drain(status) {
  const waiting = status.lanes.filter((lane) => lane.waiting && [lane.endpoint, ""].includes(form().endpoint.value));
  const said = waiting.map((lane) => {
    const waits = `${title(lane, status)}: ${plural(lane.waiting, "CDR waits", "CDRs wait")}`;
    return lane.seconds_to_drain === null ? `${waits}, and the backlog does not shrink` : `${waits}, drained in about ${duration(lane.seconds_to_drain)} at the pace of the last minutes`;
  });
  if (!status.redis.up) return write(byId("drain"), "");
  return write(byId("drain"), said.length ? `${said.join("; ")}.` : "Nothing waits.");
}

async function refresh() {
  askedAt = Date.now();
  try {
    data = await ask(`/api/minutes?hours=${hours()}`);
    draw();
  } catch {
    askedAt = 0; // the page as a whole says what is wrong
  }
}

let latest = null;

export function showChart(status) {
  latest = status;
  const choice = form().endpoint;
  offer(choice, status.lanes.map((lane) => lane.endpoint));
  drain(status);
  if (Date.now() - askedAt >= EVERY[hours()]) refresh();
}

byId("choice").addEventListener("change", () => {
  cursor = null;
  refresh();
  if (latest) drain(latest);
});
byId("choice").addEventListener("submit", (event) => event.preventDefault());
byId("chart").addEventListener("pointermove", (event) => drawn && move(event));
byId("chart").addEventListener("pointerleave", () => {
  cursor = null;
  if (drawn) point();
});
byId("chart").addEventListener("keydown", step);
new ResizeObserver(() => drawn?.width !== Math.max(280, byId("chart").clientWidth) && draw()).observe(byId("chart"));
