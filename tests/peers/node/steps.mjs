// A client that uses pages step by step. A step stands on those before it, so the first failure is the last: the rest would wait
// in vain, each for its own time. Standard error has each step as it ends; standard output gets the one line of the outcome.

// Every wait in a step has a limit of its own, so this is reached only when the browser itself does not respond.
const STEP_MAX = 90_000;

const passed = [];
const failed = {};

// Runs one step, unless an earlier one failed.
export async function step(name, run) {
  if (Object.keys(failed).length > 0) return;
  const began = performance.now();
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${STEP_MAX / 1000} s`)), STEP_MAX);
  });
  try {
    await Promise.race([run(), late]);
    passed.push(name);
  } catch (error) {
    failed[name] = error.message;
  } finally {
    clearTimeout(timer);
  }
  console.error(`${Math.round(performance.now() - began)} ms: ${name}${failed[name] ? ` FAILED: ${failed[name]}` : ""}`);
}

export function expect(condition, what) {
  if (!condition) throw new Error(what);
}

// For what goes wrong beside a step.
export function fail(name, message) {
  failed[name] ??= message;
}

// Prints the outcome and ends the process with it.
export function report(client) {
  console.log(JSON.stringify({ client, failed, passed }));
  process.exit(Object.keys(failed).length > 0 ? 1 : 0);
}
