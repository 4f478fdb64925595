import { GatewayError } from '../../core/kernel/errors.ts';

interface Node<T> {
  readonly literals: Map<string, Node<T>>;
  parameter: Node<T> | null;
  /** By method. */
  readonly routes: Map<string, T>;
}

/** More segments than any route has, so that the walk of a hostile path is short. */
const SEGMENTS_MAX = 64;

/**
 * Finds the route of a method and a path as sent, undecoded. Literal segments match byte for byte, and before a
 * parameter; a parameter matches one whole segment.
 *
 * What two HTTP implementations could read in two ways matches nothing: an empty segment, a dot segment, an encoded
 * slash, backslash or dot segment, a bad escape, a control character, a path parameter (`;`).
 */
export class RouteTrie<T> {
  readonly #root: Node<T> = emptyNode();

  /** Throws GatewayError `catalogue_invalid` when the route is there already. */
  add(method: string, template: string, route: T): void {
    let node = this.#root;
    for (const segment of segmentsOf(template)) {
      if (segment.startsWith('{')) {
        node.parameter ??= emptyNode();
        node = node.parameter;
      } else {
        const next = node.literals.get(segment) ?? emptyNode<T>();
        node.literals.set(segment, next);
        node = next;
      }
    }
    if (node.routes.has(method)) {
      throw new GatewayError('catalogue_invalid', `route ${method} ${template} is there twice`);
    }
    node.routes.set(method, route);
  }

  find(method: string, path: string): T | undefined {
    if (!path.startsWith('/')) {
      return undefined;
    }
    return this.#walk(this.#root, method, path, 1, 0);
  }

  /** The segment that starts at `start`, then the rest. Depth and work are bounded by the templates. */
  #walk(node: Node<T>, method: string, path: string, start: number, depth: number): T | undefined {
    if (path.length === 1) {
      return node.routes.get(method);
    }
    if (depth === SEGMENTS_MAX) {
      return undefined;
    }
    const slash = path.indexOf('/', start);
    const segment = slash === -1 ? path.slice(start) : path.slice(start, slash);
    const literal = node.literals.get(segment);
    if (literal !== undefined) {
      const found = this.#rest(literal, method, path, slash, depth);
      if (found !== undefined) {
        return found;
      }
    }
    if (node.parameter === null || !isPlainSegment(segment)) {
      return undefined;
    }
    return this.#rest(node.parameter, method, path, slash, depth);
  }

  #rest(node: Node<T>, method: string, path: string, slash: number, depth: number): T | undefined {
    return slash === -1 ? node.routes.get(method) : this.#walk(node, method, path, slash + 1, depth + 1);
  }
}

const ODD = /[\p{Cc}\p{Cs}/\\;]/u;
const UNRESERVED = /^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$/;

/** One value, read the same way by everybody. */
function isPlainSegment(segment: string): boolean {
  if (UNRESERVED.test(segment)) {
    return true;
  }
  let decoded: string;
  try {
    decoded = decodeURIComponent(segment);
  } catch {
    return false; // A bad escape, or bytes that are not UTF-8.
  }
  return decoded !== '' && decoded !== '.' && decoded !== '..' && !ODD.test(decoded) && !segment.includes(';');
}

function segmentsOf(template: string): string[] {
  return template === '/' ? [] : template.slice(1).split('/');
}

function emptyNode<T>(): Node<T> {
  return { literals: new Map(), parameter: null, routes: new Map() };
}
