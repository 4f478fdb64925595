/**
 * The part of the WebAssembly JavaScript interface (W3C, "WebAssembly JavaScript Interface") that the gateway uses. The
 * compiler's `lib` has it only together with the DOM, and the types of Node 20 leave it out.
 */
declare namespace WebAssembly {
  class Module {
    /** Keeps other objects from being taken for a module. */
    private readonly brand: 'module';
    constructor(bytes: Uint8Array);
  }
  class Memory {
    constructor(descriptor: { readonly initial: number; readonly maximum: number });
    readonly buffer: ArrayBuffer;
  }
  class Global {
    readonly value: unknown;
  }
  class Instance {
    constructor(module: Module, imports: Readonly<Record<string, Readonly<Record<string, unknown>>>>);
    readonly exports: Readonly<Record<string, unknown>>;
  }
  class RuntimeError extends Error {}
}
