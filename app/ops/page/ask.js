// Asks the process that serves this page, and keeps the operator token.

import { byId, write } from "/make.js";

const KEPT = "cdr-forwarder token";
const PATIENCE = 40000;

export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

export const hasToken = () => sessionStorage.getItem(KEPT) !== null;
export const forgetToken = () => sessionStorage.removeItem(KEPT);

// Throws Refused for an answer that is none, and the browser's own error where there is no answer at all.
export async function ask(path, body = undefined, token = sessionStorage.getItem(KEPT)) {
  const headers = token === null ? {} : { authorization: `Bearer ${token}` };
  const options = { headers, signal: AbortSignal.timeout(PATIENCE) };
  if (body !== undefined) {
    headers["content-type"] = "application/json";
    Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  }
  const answer = await fetch(path, options);
  if (answer.ok) return answer.json();
  throw new Refused(answer.status, (await answer.text()).trim() || `status ${answer.status}`);
}

export function explain(error) {
  if (!(error instanceof Refused)) return "This process does not answer";
  if (error.status === 401) return "This token is wrong";
  if (error.status === 429) return "Too many wrong tokens were tried: wait a moment";
  return error.message;
}

// Asks for the token until it is right; resolves to whether there is one now.
export function enterToken() {
  const dialog = byId("token");
  const form = dialog.querySelector("form");
  write(byId("token-wrong"), "");
  form.reset();
  dialog.showModal();
  return new Promise((resolve) => {
    form.querySelector("[value=no]").onclick = () => dialog.close();
    dialog.onclose = () => resolve(hasToken());
    form.onsubmit = async (event) => {
      event.preventDefault();
      const token = form.elements.token.value.trim();
      write(byId("token-wrong"), "Checking…");
      try {
        // A header can hold no other characters, and a token neither.
        if (!/^[!-~]+$/.test(token)) throw new Refused(401, "");
        await ask("/api/status", undefined, token);
        sessionStorage.setItem(KEPT, token);
        dialog.close();
      } catch (error) {
        write(byId("token-wrong"), `${explain(error)}.`);
        form.elements.token.select();
      }
    };
  });
}

// Asks as an operator: where there is no token yet, or a wrong one, for that first.
export async function act(path, body) {
  if (!hasToken() && !(await enterToken())) throw new Refused(0, "Nothing was done: it needs the token");
  return ask(path, body);
}
