const TURNS_MAX = 4_000;
const TURN_MS = 1;

/** Looks at `condition` after each turn of the event loop until it holds. Fails with `what` when it never does. */
export async function eventually(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (let turn = 0; turn < TURNS_MAX; turn++) {
    if (await condition()) {
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, TURN_MS));
  }
  throw new Error(`never: ${what}`);
}
