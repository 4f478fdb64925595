/** A broken invariant is our bug. It must end the session (in a worker: the process) and is never swallowed. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) {
    throw new InvariantError(message);
  }
}

/** Returns `value`, or throws `InvariantError` when it is null or undefined. */
export function defined<T>(value: T | null | undefined, message: string): T {
  if (value === null || value === undefined) {
    throw new InvariantError(message);
  }
  return value;
}

/** Marks a branch that the type checker has shown to be impossible. */
export function unreachable(value: never): never {
  throw new InvariantError(`unreachable: ${String(value)}`);
}
