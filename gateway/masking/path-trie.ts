import { assert } from '../../core/kernel/assert.ts';

/** Steps of a declared path: a member name, or `null` for "each element". */
type Step = Buffer | null;

const HASH_PRIME = 0x0100_0193;
export const HASH_START = 0x811c_9dc5 | 0;

/** One step of the name hash (FNV-1a). Collisions are allowed: names are compared as well. */
export function hashByte(hash: number, byte: number): number {
  return Math.imul(hash ^ byte, HASH_PRIME);
}

interface BuildNode {
  readonly path: string;
  readonly name: Buffer;
  readonly members: Map<string, BuildNode>;
  element: BuildNode | null;
  rule: number;
}

/**
 * The declared paths of a shape as flat tables: node 0 is the root; each node has a rule (or none), a node for array
 * elements (or none) and an open-addressed table of members keyed by the hash of the name's bytes.
 */
export class PathTrie {
  /** Rule of a node, -1 when its path is not declared itself. */
  readonly rules: Int32Array;
  /** Node of the elements of an array at this node, -1 when none is declared. */
  readonly elements: Int32Array;
  /** 1 when a member below this node is declared. */
  readonly hasMembers: Uint8Array;
  readonly paths: readonly string[];
  readonly #hashes: Int32Array;
  readonly #names: readonly Buffer[];
  readonly #slotBase: Int32Array;
  readonly #slotMask: Int32Array;
  readonly #slots: Int32Array;

  constructor(rulesByPath: ReadonlyMap<string, number>) {
    const root = newNode('', Buffer.alloc(0));
    for (const [path, rule] of rulesByPath) {
      declare(root, path, rule);
    }
    const nodes = flatten(root);
    const ids = new Map(nodes.map((node, id) => [node, id]));
    const idOf = (node: BuildNode | null): number => (node === null ? -1 : (ids.get(node) ?? -1));
    this.rules = Int32Array.from(nodes, (node) => node.rule);
    this.elements = Int32Array.from(nodes, (node) => idOf(node.element));
    this.hasMembers = Uint8Array.from(nodes, (node) => (node.members.size > 0 ? 1 : 0));
    this.paths = nodes.map((node) => node.path);
    this.#names = nodes.map((node) => node.name);
    this.#hashes = Int32Array.from(nodes, (node) => hashName(node.name));
    this.#slotBase = new Int32Array(nodes.length);
    this.#slotMask = new Int32Array(nodes.length);
    const slots: number[] = [];
    nodes.forEach((node, id) => {
      const size = slotCount(node.members.size);
      this.#slotBase[id] = slots.length;
      this.#slotMask[id] = size - 1;
      const table = Array.from({ length: size }, () => -1);
      for (const member of node.members.values()) {
        let slot = hashName(member.name) & (size - 1);
        while (table[slot] !== -1) {
          slot = (slot + 1) & (size - 1);
        }
        table[slot] = idOf(member);
      }
      slots.push(...table);
    });
    this.#slots = Int32Array.from(slots);
  }

  get size(): number {
    return this.rules.length;
  }

  /** Node of the member whose name is `bytes` [start, end), -1 when it is not declared. */
  member(node: number, bytes: Uint8Array, start: number, end: number, hash: number): number {
    const base = this.#slotBase[node] as number;
    const mask = this.#slotMask[node] as number;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const child = this.#slots[base + slot] as number;
      if (child < 0 || (this.#hashes[child] === hash && this.isNamed(child, bytes, start, end))) {
        return child;
      }
    }
  }

  /** True when the member name of `node` is exactly `bytes` [start, end). */
  isNamed(node: number, bytes: Uint8Array, start: number, end: number): boolean {
    const name = this.#names[node] as Buffer;
    if (name.length !== end - start) {
      return false;
    }
    for (let i = 0; i < name.length; i++) {
      if (bytes[start + i] !== name[i]) {
        return false;
      }
    }
    return true;
  }

  /**
   * Where the text `name"` of this node ends when it stands at `start`, else -1: a guess that saves hashing when
   * members come in the same order from row to row.
   */
  endOfName(node: number, bytes: Uint8Array, start: number, end: number): number {
    const name = this.#names[node] as Buffer;
    const size = name.length;
    if (start + size >= end || bytes[start + size] !== 0x22) {
      return -1;
    }
    for (let i = 0; i < size; i++) {
      if (bytes[start + i] !== name[i]) {
        return -1;
      }
    }
    return start + size;
  }
}

export function hashName(name: Uint8Array): number {
  let hash = HASH_START;
  for (const byte of name) {
    hash = hashByte(hash, byte);
  }
  return hash;
}

function newNode(path: string, name: Buffer): BuildNode {
  return { path, name, members: new Map(), element: null, rule: -1 };
}

function declare(root: BuildNode, path: string, rule: number): void {
  let node = root;
  for (const step of stepsOf(path)) {
    if (step === null) {
      node.element ??= newNode(`${node.path}[]`, Buffer.alloc(0));
      node = node.element;
      continue;
    }
    const key = step.toString();
    let member = node.members.get(key);
    if (member === undefined) {
      member = newNode(node.path === '' ? key : `${node.path}.${key}`, step);
      node.members.set(key, member);
    }
    node = member;
  }
  node.rule = rule;
}

/** `items[].name.family` -> items, each, name, family. `[]` alone is the elements of the root. */
function stepsOf(path: string): Step[] {
  const steps: Step[] = [];
  for (const part of path === '' ? [] : path.split('.')) {
    let name = part;
    let arrays = 0;
    while (name.endsWith('[]')) {
      name = name.slice(0, -2);
      arrays++;
    }
    if (name !== '') {
      steps.push(Buffer.from(name));
    }
    for (let i = 0; i < arrays; i++) {
      steps.push(null);
    }
  }
  return steps;
}

function flatten(root: BuildNode): BuildNode[] {
  const nodes = [root];
  for (let i = 0; i < nodes.length; i++) {
    const node = nodes[i];
    assert(node !== undefined, 'the list only grows');
    if (node.element !== null) {
      nodes.push(node.element);
    }
    nodes.push(...node.members.values());
  }
  return nodes;
}

/** A power of two that leaves at least half of the table empty, so that probing ends. */
function slotCount(members: number): number {
  let size = 1;
  while (size < members * 2) {
    size *= 2;
  }
  return members === 0 ? 1 : size;
}
