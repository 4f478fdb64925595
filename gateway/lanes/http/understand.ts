import { createHmac } from 'node:crypto';
import type { ConnectionInfo, Operation } from '../../contract/operation.ts';
import type { Catalogue, ResolvedRoute, ResultShape } from '../../contract/shape.ts';

/** What the request was found to carry; kinds are scanner kinds or kinds of catalogue classes, sorted. */
export interface RequestFindings {
  /** In path, query and headers. */
  readonly headKinds: readonly string[];
  readonly bodyKinds: readonly string[];
  /** Classes of body fields that the catalogue knows. */
  readonly bodyClasses: readonly string[];
}

/** A route that the catalogue does not know: nothing is released for it, and the policy sees `unresolved`. */
const UNKNOWN_TEMPLATE = '/?';

/** The operation of an HTTP request in the terms of the policy. No path parameter and no literal goes into it. */
export function understand(
  connection: ConnectionInfo,
  method: string,
  route: ResolvedRoute | undefined,
  findings: RequestFindings,
  catalogue: Catalogue,
  hasQuery: boolean,
): Operation {
  const outputsClasses = route?.response === null || route === undefined ? [] : classesOf(route.response, catalogue);
  const filtersClasses = sorted(route?.parameterClasses ?? []);
  const requestClasses = route?.request === null || route === undefined ? [] : classesOf(route.request, catalogue);
  const kinds = sorted([...findings.headKinds, ...findings.bodyKinds]);
  const template = route?.template ?? UNKNOWN_TEMPLATE;
  return {
    class: route?.class ?? (method === 'GET' || method === 'HEAD' ? 'read' : 'write'),
    verb: route?.verb ?? method.toLowerCase(),
    text: `${method} ${template}`,
    fingerprint: `http:${connection.name}:${method}:${route?.id ?? 'unknown'}`,
    objects: route?.objects ?? [],
    classes: sorted([...outputsClasses, ...filtersClasses, ...requestClasses, ...findings.bodyClasses]),
    outputsClasses,
    filtersClasses,
    kinds,
    egress: { kinds, destination: connection.name },
    unresolved: route === undefined || route.unknownParameters.length > 0,
    safe: route?.safe ?? false,
    facts: {
      hasWhere: filtersClasses.length > 0,
      hasLimit: hasQuery,
      multi: false,
      functionCalls: [],
      lineage: 'exact',
      rowsBand: route?.rowsBand ?? 'none',
    },
  };
}

/** Keyed digest of the exact target: equal targets of one cluster have equal digests, and nobody else can test guesses. */
export function targetDigest(targetKey: Buffer, connection: string, method: string, target: string): Buffer {
  const separator = '\n'; // Cannot be part of any of the three.
  return createHmac('sha256', targetKey).update([connection, method, target].join(separator), 'latin1').digest();
}

const shapeClasses = new WeakMap<ResultShape, readonly string[]>();

/** The classes of a shape, sorted; computed once for each shape. */
export function classesOf(shape: ResultShape, catalogue: Catalogue): readonly string[] {
  let classes = shapeClasses.get(shape);
  if (classes === undefined) {
    const found = new Set<string>();
    for (const rule of shape.fields.values()) {
      found.add(rule.class);
    }
    if (shape.text !== null) {
      found.add(shape.text.class);
    }
    classes = [...found].filter((name) => catalogue.classes.has(name)).sort();
    shapeClasses.set(shape, classes);
  }
  return classes;
}

function sorted(values: readonly string[]): readonly string[] {
  return values.length < 2 ? values : [...new Set(values)].sort();
}
