const STEP_MS = 50;

/**
 * Asks again until the answer is there. Rejects when the bound has passed: bounds are generous, for a loaded machine, and
 * are no part of what is checked.
 */
export async function until<T>(what: string, boundMs: number, ask: () => Promise<T | null>): Promise<T> {
  const endMs = performance.now() + boundMs;
  for (;;) {
    const answer = await ask();
    if (answer !== null) {
      return answer;
    }
    if (performance.now() > endMs) {
      throw new Error(`waited ${Math.round(boundMs / 1000)} s in vain: ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, STEP_MS));
  }
}
