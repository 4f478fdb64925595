/*
 * The plan IR of OPA (openpolicyagent.org/docs/latest/ir), as far as reading of the input goes:
 *
 *   {static: {strings: [{value}]}, plans: {plans: [{name, blocks}]}, funcs: {funcs: [{name, params, blocks}]}}
 *   block = {stmts: [{type, stmt}]}; an operand is {type: "local" | "bool" | "string_index", value}
 *
 * Locals 0 and 1 of a plan, and the first two parameters of a function, are input and data.
 */
interface Plan {
  readonly static: { readonly strings?: readonly { readonly value: string }[] };
  readonly plans: { readonly plans: readonly { readonly name: string; readonly blocks: readonly Block[] }[] };
  readonly funcs: { readonly funcs?: readonly Func[] };
}
interface Func {
  readonly name: string;
  readonly params: readonly number[];
  readonly blocks: readonly Block[];
}
interface Block {
  readonly stmts?: readonly { readonly type: string; readonly stmt: Statement }[] | null;
}
type Statement = Readonly<Record<string, unknown>>;
interface Operand {
  readonly type: string;
  readonly value: unknown;
}

/** Local -> paths of the input that it can hold at this point, joined by dots. */
type Paths = Map<number, ReadonlySet<string>>;

/** What the walk of one function gathers. */
interface Found {
  readonly strings: readonly string[];
  readonly inputLocal: number;
  readonly inputFuncs: ReadonlySet<string>;
  /** Paths whose value is used. */
  readonly used: Set<string>;
  /** Paths that a member step reached. */
  readonly reached: Set<string>;
}

const INPUT_LOCAL = 0;

/**
 * The paths of the input that an evaluation can read, sorted, without one inside of another; `*` when the input itself
 * is used as a value. Sound, not exact: a path counts as read as soon as its value is used for anything but going one
 * named member deeper. It follows the statements in order, and takes every block for one that may or may not have run.
 */
export function readsOfPlan(planJson: string): readonly string[] | '*' {
  const plan = JSON.parse(planJson) as Plan;
  const strings = (plan.static.strings ?? []).map((entry) => entry.value);
  const funcs = plan.funcs.funcs ?? [];
  const inputFuncs = new Set(funcs.map((func) => func.name));
  const used = new Set<string>();
  for (const { blocks } of plan.plans.plans) {
    walkFunction(blocks, { strings, inputLocal: INPUT_LOCAL, inputFuncs, used, reached: new Set() });
  }
  for (const { params, blocks } of funcs) {
    walkFunction(blocks, { strings, inputLocal: params[0] ?? INPUT_LOCAL, inputFuncs, used, reached: new Set() });
  }
  if (used.has('')) {
    return '*';
  }
  const paths = [...used].sort();
  return paths.filter((path) => !paths.some((other) => other !== path && path.startsWith(`${other}.`)));
}

function walkFunction(blocks: readonly Block[], found: Found): void {
  walkBlocks(blocks, new Map([[found.inputLocal, new Set([''])]]), found);
  // A member that is only looked for counts as well: whether it is there decides.
  for (const path of found.reached) {
    const isCovered = [...found.used].some((other) => other === '' || other === path || path.startsWith(`${other}.`));
    if (!isCovered && ![...found.used, ...found.reached].some((other) => other.startsWith(`${path}.`))) {
      found.used.add(path);
    }
  }
}

/**
 * Blocks one after the other. Each can end anywhere, so what holds after it is what held before, or after any of its
 * statements.
 */
function walkBlocks(blocks: readonly Block[], before: Paths, found: Found): Paths {
  let paths = before;
  for (const { stmts } of blocks) {
    let now: Paths = new Map(paths);
    for (const { type, stmt } of stmts ?? []) {
      walkStatement(type, stmt, now, found);
      const { block, blocks: inner } = stmt as { block?: Block; blocks?: readonly Block[] };
      const nested = [...(block === undefined ? [] : [block]), ...(inner ?? [])];
      // Twice: the second turn of a loop starts with what the first one left.
      now = nested.length === 0 ? now : walkBlocks(nested, walkBlocks(nested, now, found), found);
      paths = union(paths, now);
    }
  }
  return paths;
}

function walkStatement(type: string, stmt: Statement, paths: Paths, found: Found): void {
  if (type === 'WithStmt' && stmt['local'] === found.inputLocal) {
    found.used.add('');
  }
  const deeper = type === 'DotStmt' ? memberPaths(stmt, paths, found) : null;
  if (deeper === null) {
    markUses(type, stmt, paths, found);
  }
  for (const name of type === 'ScanStmt' ? ['key', 'value'] : ['target', 'result']) {
    if (typeof stmt[name] === 'number') {
      paths.delete(stmt[name]);
    }
  }
  if (deeper !== null && deeper.size > 0) {
    paths.set(stmt['target'] as number, deeper);
  }
}

function union(a: Paths, b: Paths): Paths {
  const joined: Paths = new Map(a);
  for (const [local, held] of b) {
    joined.set(local, new Set([...(joined.get(local) ?? []), ...held]));
  }
  return joined;
}

/** Where a step to a named member leads; null when it is no such step, or from something that is not the input. */
function memberPaths(stmt: Statement, paths: Paths, found: Found): ReadonlySet<string> | null {
  const source = stmt['source'] as Operand;
  const member = memberName(stmt, found.strings);
  const bases = source.type === 'local' ? paths.get(source.value as number) : undefined;
  if (bases === undefined || member === undefined) {
    return null;
  }
  const deeper = new Set([...bases].map((base) => (base === '' ? member : `${base}.${member}`)));
  for (const path of deeper) {
    found.reached.add(path);
  }
  return deeper;
}

/** Undefined for a computed member, and for a name that cannot be said in a path: then the parent is read as a whole. */
function memberName(stmt: Statement, strings: readonly string[]): string | undefined {
  const key = stmt['key'] as Operand;
  const name = key.type === 'string_index' ? strings[key.value as number] : undefined;
  return name === undefined || name === '' || name.includes('.') ? undefined : name;
}

/** Every use of a local that holds a part of the input, but handing the whole input on to another rule. */
function markUses(type: string, stmt: Statement, paths: Paths, found: Found): void {
  if (type === 'MakeNumberIntStmt' || type === 'AssignIntStmt') {
    return; // Their value is a number, not a local.
  }
  const handsOn = type === 'CallDynamicStmt' || (type === 'CallStmt' && found.inputFuncs.has(stmt['func'] as string));
  for (const [name, value] of Object.entries(stmt)) {
    if (NOT_USES.has(name)) {
      continue;
    }
    for (const [index, local] of localsIn(name, value).entries()) {
      const asInput = handsOn && name === 'args' && index === 0 && local === found.inputLocal;
      for (const path of asInput ? [] : (paths.get(local) ?? [])) {
        found.used.add(path);
      }
    }
  }
}

const NOT_USES = new Set(['block', 'blocks', 'target', 'result']);
const LOCAL_FIELDS = new Set(['source', 'object', 'array', 'set', 'value', 'key', 'a', 'b', 'local']);

/** The locals that a field of a statement names, in order: as an operand, as a list of operands, or as a bare number. */
function localsIn(name: string, value: unknown): number[] {
  if (typeof value === 'number') {
    return LOCAL_FIELDS.has(name) ? [value] : [];
  }
  if (Array.isArray(value)) {
    return (value as readonly unknown[]).map((item) =>
      isOperand(item) ? (item.type === 'local' ? (item.value as number) : -1) : name === 'args' ? Number(item) : -1,
    );
  }
  return isOperand(value) && value.type === 'local' ? [value.value as number] : [];
}

function isOperand(value: unknown): value is Operand {
  return typeof value === 'object' && value !== null && 'type' in value && 'value' in value;
}
