import { createRequire } from 'node:module';

interface SdkPolicy {
  setData(data: object): void;
  evaluate(input: unknown, entrypoint: string): unknown;
}

// Its ES module has only a default export, which its types deny.
const sdk = createRequire(import.meta.url)('@open-policy-agent/opa-wasm') as {
  loadPolicySync(module: WebAssembly.Module, memory: { readonly initial: number }): SdkPolicy;
};

/**
 * The reference engine: the same module and data through OPA's own SDK. Returns the result set as an object.
 * Limit: the SDK takes a falsy input for none, throws strings and rounds numbers over 2^53; callers stay clear of that.
 */
export class SdkOracle {
  readonly #policy: SdkPolicy;
  readonly #entrypoint: string;

  constructor(module: WebAssembly.Module, dataJson: string, entrypoint: string) {
    this.#policy = sdk.loadPolicySync(module, { initial: 256 });
    this.#policy.setData(JSON.parse(dataJson) as object);
    this.#entrypoint = entrypoint;
  }

  evaluate(input: string): unknown {
    return this.evaluateObject(JSON.parse(input));
  }

  evaluateObject(input: unknown): unknown {
    return this.#policy.evaluate(input, this.#entrypoint);
  }
}
