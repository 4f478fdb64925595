import { assert, defined } from '../../core/kernel/assert.ts';
import { GatewayError } from '../../core/kernel/errors.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import { InputSlots, type InputLayout, type OpaHeap } from './input-slots.ts';

/*
 * The OPA WASM ABI 1.2 and later, as far as one evaluation needs it (openpolicyagent.org/docs/latest/wasm, "ABI"):
 *
 *   import env.memory, env.opa_abort(addr), env.opa_println(addr), env.opa_builtin0..4
 *   export opa_malloc(size) -> addr, opa_json_parse(addr, size) -> value, opa_json_dump(value) -> addr of C string,
 *          opa_heap_ptr_get() -> addr, entrypoints() -> value, builtins() -> value,
 *          opa_eval(0, entrypoint, data, input addr, input size, heap addr, 0 = JSON) -> addr of C string
 *
 *          opa_heap_ptr_set(addr), opa_value_add_path(object, path, value) -> 0, opa_eval_ctx_*, eval(context) -> 0
 *
 * Memory, from low to high: C stack, statics, parsed data | input slots | input text | heap of this evaluation.
 *                                                                      ^ #inputAddress, the same for every evaluation
 */
interface OpaExports {
  readonly opa_wasm_abi_version: WebAssembly.Global;
  readonly opa_wasm_abi_minor_version: WebAssembly.Global;
  readonly opa_malloc: (size: number) => number;
  readonly opa_json_parse: (address: number, size: number) => number;
  readonly opa_json_dump: (value: number) => number;
  readonly opa_heap_ptr_get: () => number;
  readonly opa_heap_ptr_set: (address: number) => void;
  readonly opa_value_add_path: (object: number, path: number, value: number) => number;
  readonly opa_eval_ctx_new: () => number;
  readonly opa_eval_ctx_set_input: (context: number, value: number) => void;
  readonly opa_eval_ctx_set_data: (context: number, value: number) => void;
  readonly opa_eval_ctx_set_entrypoint: (context: number, id: number) => void;
  readonly opa_eval_ctx_get_result: (context: number) => number;
  readonly eval: (context: number) => number;
  readonly entrypoints: () => number;
  readonly builtins: () => number;
  readonly opa_eval: (
    reserved: 0,
    entrypoint: number,
    data: number,
    input: number,
    inputSize: number,
    heap: number,
    format: 0,
  ) => number;
}

/** Present in every supported Node, absent from its types: no decoder object, no intermediate copy. */
type Utf8View = Buffer & {
  utf8Write(text: string, offset: number, length: number): number;
  utf8Slice(start: number, end: number): string;
};

const PAGE_SIZE = 64 * 1024;
/** UTF-8 of one UTF-16 code unit is at most three bytes. */
const UTF8_BYTES_PER_UNIT_MAX = 3;
const ABI_VERSION = 1;
const ABI_MINOR_MIN = 2;

/** Thrown by the module through `opa_abort`. Carries the module's own words, which can hold data: never shown. */
class PolicyAbort extends Error {
  override readonly name = 'PolicyAbort';
}

/**
 * Evaluates one compiled bundle in this thread. Synchronous; results are the JSON text of OPA's result set.
 *
 * Fuel: an evaluation cannot be interrupted, but it allocates. The memory has its final size from the start (growing is
 * very slow in Node, and detaches every view), so a runaway hits the end of it and aborts within some 20 ms.
 * Limit: one that does not allocate is caught by the worker's heartbeat only.
 *
 * Invariants: `#data` and everything below `#inputAddress` never change after construction; an evaluation starts from
 * the same memory whatever ran before it, so it is a function of its input alone. An instance that aborted is replaced:
 * the throw leaves its C stack pointer where it was, and after about a thousand of them every evaluation would trap. The
 * new instance takes over the memory, so the data is not parsed again.
 */
export class WasmDriver {
  readonly #module: WebAssembly.Module;
  readonly #memory: WebAssembly.Memory;
  readonly #entrypoint: number;
  readonly #data: number;
  readonly #inputAddress: number;
  readonly #slots: InputSlots | null;
  #exports: OpaExports;
  #view: Utf8View;
  #words: DataView;
  #aborts = 0;

  /** Throws GatewayError `bundle_invalid` when the module is not one that this driver can run. */
  constructor(module: WebAssembly.Module, dataJson: string, entrypoint: string, layout: InputLayout | null = null) {
    const pages = memoryPages(Buffer.byteLength(dataJson), layout);
    this.#module = module;
    this.#memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    this.#view = Buffer.from(this.#memory.buffer) as Utf8View;
    this.#words = new DataView(this.#memory.buffer);
    try {
      this.#exports = this.#instantiate();
      this.#checkModule();
      this.#entrypoint = this.#resolveEntrypoint(entrypoint);
      this.#data = this.#loadData(dataJson);
      const start = aligned(this.#exports.opa_heap_ptr_get());
      this.#slots = layout === null ? null : InputSlots.build(this.#heap(), layout, start, LIMITS.policyInputBytesMax);
      this.#inputAddress = this.#slots?.end ?? start;
    } catch (error) {
      if (error instanceof GatewayError) {
        throw error;
      }
      throw new GatewayError('bundle_invalid', 'policy.wasm does not start with its data', { cause: error });
    }
  }

  /** Whether `evaluateLeaves` works: a layout was given, and the module's values are as expected. */
  get hasSlots(): boolean {
    return this.#slots !== null;
  }

  /** Evaluations that ran out of memory, trapped or met a conflict of rules. */
  get aborts(): number {
    return this.#aborts;
  }

  /** The result set as JSON, or null when the evaluation aborted or the input is over the limit. */
  evaluate(input: string): string | null {
    if (
      input.length * UTF8_BYTES_PER_UNIT_MAX > LIMITS.policyInputBytesMax &&
      Buffer.byteLength(input) > LIMITS.policyInputBytesMax
    ) {
      return null;
    }
    const size = this.#freshView().utf8Write(input, this.#inputAddress, LIMITS.policyInputBytesMax);
    const heap = aligned(this.#inputAddress + size);
    return this.#guarded(() =>
      this.#exports.opa_eval(0, this.#entrypoint, this.#data, this.#inputAddress, size, heap, 0),
    );
  }

  /** `evaluate` for an input of the layout: the JSON text of each leaf, and which of its objects are null. */
  evaluateLeaves(texts: readonly string[], nulls: readonly boolean[]): string | null {
    const slots = defined(this.#slots, 'the driver was made with a layout, and has slots');
    return this.#guarded(() => {
      if (!slots.fill(texts, nulls)) {
        throw new PolicyAbort('a leaf of the input is not JSON, or too long');
      }
      const opa = this.#exports;
      opa.opa_heap_ptr_set(slots.end);
      const context = opa.opa_eval_ctx_new();
      opa.opa_eval_ctx_set_input(context, slots.root);
      opa.opa_eval_ctx_set_data(context, this.#data);
      opa.opa_eval_ctx_set_entrypoint(context, this.#entrypoint);
      if (opa.eval(context) !== 0) {
        throw new PolicyAbort('the evaluation failed');
      }
      return opa.opa_json_dump(opa.opa_eval_ctx_get_result(context));
    });
  }

  /** The text that `evaluation` gives the address of, or null when it aborts. */
  #guarded(evaluation: () => number): string | null {
    try {
      return this.#cString(evaluation());
    } catch (error) {
      if (!isAbort(error)) {
        throw error;
      }
      this.#aborts++;
      this.#exports = this.#instantiate();
      return null;
    }
  }

  /** What the slots need of this instance. Every method asks for the exports anew: an abort replaces them. */
  #heap(): OpaHeap {
    return {
      parse: (json, address) => {
        const size = this.#freshView().utf8Write(json, address, Buffer.byteLength(json));
        this.#exports.opa_heap_ptr_set(aligned(address + size));
        const value = this.#exports.opa_json_parse(address, size);
        return { value, end: aligned(this.#exports.opa_heap_ptr_get()) };
      },
      addPath: (object, path, value, address) => {
        this.#exports.opa_heap_ptr_set(address);
        assert(this.#exports.opa_value_add_path(object, path, value) === 0, 'a path of member names can be added');
        return aligned(this.#exports.opa_heap_ptr_get());
      },
      dump: (value, address) => {
        this.#exports.opa_heap_ptr_set(aligned(address));
        return this.#cString(this.#exports.opa_json_dump(value));
      },
      words: () => {
        this.#freshView();
        return this.#words;
      },
      bytes: () => this.#freshView(),
    };
  }

  #instantiate(): OpaExports {
    const missing = (): never => {
      throw new PolicyAbort('a builtin that the gateway does not provide');
    };
    const instance = new WebAssembly.Instance(this.#module, {
      env: {
        memory: this.#memory,
        opa_abort: (address: number): never => {
          throw new PolicyAbort(this.#cString(address));
        },
        // Where `print` would go: a policy has no channel out but its verdict.
        opa_println: () => undefined,
        opa_builtin0: missing,
        opa_builtin1: missing,
        opa_builtin2: missing,
        opa_builtin3: missing,
        opa_builtin4: missing,
      },
    });
    return instance.exports as unknown as OpaExports;
  }

  #checkModule(): void {
    const { opa_wasm_abi_version: version, opa_wasm_abi_minor_version: minor } = this.#exports;
    if (Number(version.value) !== ABI_VERSION || Number(minor.value) < ABI_MINOR_MIN) {
      throw new GatewayError('bundle_invalid', 'policy.wasm has another ABI than 1.2');
    }
    // Limit: only builtins that OPA compiles into the module. The others (sprintf, http.send, time) are slow, impure or both.
    const builtins = Object.keys(this.#json(this.#exports.builtins()));
    if (builtins.length > 0) {
      throw new GatewayError(
        'bundle_invalid',
        `policy.wasm needs builtins that the gateway lacks: ${builtins.join(', ')}`,
      );
    }
  }

  #resolveEntrypoint(name: string): number {
    const id = this.#json(this.#exports.entrypoints())[name];
    if (typeof id !== 'number') {
      throw new GatewayError('bundle_invalid', `policy.wasm has no entrypoint ${name}`);
    }
    return id;
  }

  #loadData(dataJson: string): number {
    const size = Buffer.byteLength(dataJson);
    const address = this.#exports.opa_malloc(size);
    this.#freshView().utf8Write(dataJson, address, size);
    const value = this.#exports.opa_json_parse(address, size);
    if (value === 0) {
      throw new GatewayError('bundle_invalid', 'data.json is not JSON');
    }
    return value;
  }

  #json(value: number): Record<string, unknown> {
    return JSON.parse(this.#cString(this.#exports.opa_json_dump(value))) as Record<string, unknown>;
  }

  #cString(address: number): string {
    const view = this.#freshView();
    return view.utf8Slice(address, view.indexOf(0, address));
  }

  /** Instantiating detaches the buffer even when the memory does not grow; a detached view has length 0. */
  #freshView(): Utf8View {
    if (this.#view.length === 0) {
      this.#view = Buffer.from(this.#memory.buffer) as Utf8View;
      this.#words = new DataView(this.#memory.buffer);
    }
    return this.#view;
  }
}

function memoryPages(dataBytes: number, layout: InputLayout | null): number {
  const slotBytes = layout === null ? 0 : InputSlots.bytesMax(LIMITS.policyInputBytesMax);
  const bytes = dataBytes * LIMITS.wasmBytesPerDataByte + LIMITS.wasmHeadroomBytes + slotBytes;
  return Math.ceil(bytes / PAGE_SIZE) + Math.ceil(LIMITS.policyInputBytesMax / PAGE_SIZE);
}

function aligned(address: number): number {
  return (address + 15) & ~15;
}

function isAbort(error: unknown): boolean {
  // RangeError: the C stack of a deeply recursive evaluation runs into the one of JavaScript.
  return error instanceof PolicyAbort || error instanceof WebAssembly.RuntimeError || error instanceof RangeError;
}
