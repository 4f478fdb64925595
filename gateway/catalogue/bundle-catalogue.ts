import { createHash } from 'node:crypto';
import { canonicalJson, type JsonValue } from '../../core/kernel/canonical-json.ts';
import { GatewayError } from '../../core/kernel/errors.ts';
import type { Catalogue, ClassInfo, FieldRule, ResolvedRoute, ResultShape } from '../contract/shape.ts';
import {
  parseCatalogueFile,
  type CatalogueFile,
  type FieldFile,
  type RouteFile,
  type ShapeFile,
} from './catalogue-file.ts';
import { RouteTrie } from './route-trie.ts';

/** A route with what does not depend on the query: most requests have none, and share `plain`. */
interface CompiledRoute {
  readonly plain: ResolvedRoute;
  readonly queryClasses: ReadonlyMap<string, string>;
}

/** Stands for a query name that could itself be data. */
const ODD_NAME = '(odd)';
const QUERY_NAME = /^[A-Za-z0-9_.[\]-]{1,64}$/;
const QUERY_NAMES_MAX = 64;

/**
 * The catalogue of a bundle: which columns, members and parameters belong to which class.
 *
 * Invariants: every class that a route, shape or table names is declared; routes of a connection are distinct; everything
 * is compiled at construction, so that a look-up allocates only for a query.
 */
export class BundleCatalogue implements Catalogue {
  readonly digest: Buffer;
  readonly classes: ReadonlyMap<string, ClassInfo>;
  readonly shapes: ReadonlyMap<string, ResultShape>;
  readonly #connections = new Map<string, RouteTrie<CompiledRoute>>();

  private constructor(file: CatalogueFile, digest: Buffer) {
    this.digest = digest;
    this.classes = new Map(
      Object.entries(file.classes).map(([name, { phi, hipaa, kind }]) => [name, { name, phi, hipaa, kind }]),
    );
    const shapes = new Map<string, ResultShape>();
    for (const [id, shape] of Object.entries(file.shapes)) {
      shapes.set(id, this.#compileShape(id, shape, file));
    }
    this.shapes = shapes;
    for (const [name, { routes }] of Object.entries(file.connections)) {
      const trie = new RouteTrie<CompiledRoute>();
      const ids = new Set<string>();
      for (const route of routes) {
        refuse(ids.has(route.id), `route id ${route.id} of ${name} is there twice`);
        ids.add(route.id);
        trie.add(route.method, route.path, this.#compileRoute(route));
      }
      this.#connections.set(name, trie);
    }
  }

  /** From the text of `catalogue.json`. Throws GatewayError `catalogue_invalid`. */
  static parse(json: string): BundleCatalogue {
    let document: JsonValue;
    try {
      document = JSON.parse(json) as JsonValue;
    } catch {
      throw new GatewayError('catalogue_invalid', 'catalogue.json is not JSON');
    }
    const file = parseCatalogueFile(document);
    return new BundleCatalogue(file, sha256(canonicalJson(document)));
  }

  resolveHttp(connection: string, method: string, path: string, query: string): ResolvedRoute | undefined {
    const route = this.#connections.get(connection)?.find(method, path);
    if (route === undefined || query === '') {
      return route?.plain;
    }
    const classes = new Set(route.plain.parameterClasses);
    const unknown = new Set<string>();
    for (const name of queryNames(query)) {
      const known = route.queryClasses.get(name);
      if (known === undefined) {
        unknown.add(QUERY_NAME.test(name) ? name : ODD_NAME);
      } else {
        classes.add(known);
      }
    }
    return { ...route.plain, parameterClasses: [...classes].sort(), unknownParameters: [...unknown].sort() };
  }

  #compileRoute(file: RouteFile): CompiledRoute {
    const declared = new Set([...file.path.matchAll(/\{([A-Za-z0-9_]+)\}/g)].map(([, name]) => name as string));
    const named = Object.keys(file.pathParameters);
    refuse(
      declared.size !== named.length || named.some((name) => !declared.has(name)),
      `route ${file.id}: pathParameters must name every {parameter} of the path once`,
    );
    refuse(file.safe && file.class !== 'read', `route ${file.id}: only a read can be safe`);
    const classes = new Set(Object.values(file.pathParameters).map((name) => this.#known(name, `route ${file.id}`)));
    const queryClasses = new Map(
      Object.entries(file.queryParameters).map(([name, cls]) => [name, this.#known(cls, `route ${file.id}`)]),
    );
    const plain: ResolvedRoute = {
      id: file.id,
      template: file.path,
      class: file.class,
      verb: file.verb,
      objects: file.objects,
      safe: file.safe,
      rowsBand: file.rowsBand,
      parameterClasses: [...classes].sort(),
      unknownParameters: [],
      response: this.#shape(file.response, file.id),
      request: this.#shape(file.request, file.id),
    };
    return { plain, queryClasses };
  }

  #shape(id: string | null, route: string): ResultShape | null {
    if (id === null) {
      return null;
    }
    const shape = this.shapes.get(id);
    if (shape === undefined) {
      throw new GatewayError('catalogue_invalid', `route ${route}: shape ${id} is not declared`);
    }
    return shape;
  }

  #compileShape(id: string, shape: ShapeFile, file: CatalogueFile): ResultShape {
    const fields = new Map<string, FieldRule>();
    const where = `shape ${id}`;
    if (shape.table !== undefined) {
      const table = Object.hasOwn(file.tables, shape.table) ? file.tables[shape.table] : undefined;
      refuse(table === undefined, `${where}: table ${shape.table} is not declared`);
      for (const row of shape.rows ?? ['']) {
        for (const [column, field] of Object.entries(table ?? {})) {
          fields.set(row === '' ? column : `${row}.${column}`, this.#rule(field, where));
        }
      }
    }
    for (const [path, field] of Object.entries(shape.fields ?? {})) {
      refuse(fields.has(path), `${where}: path ${path} is there twice`);
      fields.set(path, this.#rule(field, where));
    }
    const text = shape.text === null ? null : this.#rule(shape.text, where);
    refuse(shape.media.includes('text') !== (text !== null), `${where}: a text body needs a rule, and only it`);
    const digest = sha256(
      canonicalJson({
        id,
        media: [...shape.media],
        fields: Object.fromEntries([...fields].map(([path, rule]) => [path, { ...rule }])),
        text: text === null ? null : { ...text },
      }),
    );
    return { id, media: shape.media, fields, text, digest };
  }

  #rule(field: FieldFile, where: string): FieldRule {
    const rule = typeof field === 'string' ? { class: field, scan: false } : field;
    return { class: this.#known(rule.class, where), scan: rule.scan };
  }

  #known(name: string, where: string): string {
    refuse(!this.classes.has(name), `${where}: class ${name} is not declared`);
    return name;
  }
}

/** Names in order, decoded; what does not decode is an odd name, which no route knows. */
function* queryNames(query: string): Iterable<string> {
  let start = 0;
  for (let count = 0; start <= query.length; count++) {
    if (count === QUERY_NAMES_MAX) {
      yield ODD_NAME;
      return;
    }
    const and = query.indexOf('&', start);
    const end = and === -1 ? query.length : and;
    const equals = query.indexOf('=', start);
    const name = query.slice(start, equals === -1 || equals > end ? end : equals);
    if (end > start) {
      yield decodedName(name);
    }
    start = end + 1;
  }
}

function decodedName(name: string): string {
  if (QUERY_NAME.test(name)) {
    return name;
  }
  try {
    return decodeURIComponent(name.replaceAll('+', ' '));
  } catch {
    return ODD_NAME; // A bad escape.
  }
}

function refuse(condition: boolean, detail: string): void {
  if (condition) {
    throw new GatewayError('catalogue_invalid', detail);
  }
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
