import { z } from 'zod';
import { GatewayError } from '../../core/kernel/errors.ts';

/** `catalogue.json` of a bundle, version 1. The format is described in policies/README.md. */
export type CatalogueFile = z.infer<typeof fileSchema>;
export type RouteFile = z.infer<typeof routeSchema>;
export type ShapeFile = z.infer<typeof shapeSchema>;
export type FieldFile = z.infer<typeof fieldSchema>;

const NAMES_MAX = 10_000;

const name = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$/, 'must be a name of letters, digits and _ . : -');
/** Members joined by dots; a member can be any JSON member name without a dot. */
const path = z
  .string()
  .min(1)
  .max(512)
  .regex(/^[^\p{Cc}\p{Cs}]*$/u);

const classSchema = z.strictObject({
  title: z.string().min(1).max(256),
  phi: z.boolean(),
  hipaa: z.string().regex(/^[A-R]?$/, 'must be a letter of 45 CFR 164.514(b)(2)(i), A to R, or empty'),
  kind: name.or(z.literal('')),
});

const fieldSchema = z.union([name, z.strictObject({ class: name, scan: z.boolean() })]);

const shapeSchema = z.strictObject({
  media: z.array(z.enum(['json', 'ndjson', 'csv', 'text'])).min(1),
  /** Where a row of `table` stands in the body: '' = the body or line itself, `[]` = each element, `items[]`. */
  table: name.optional(),
  rows: z
    .array(z.string().regex(/^(?:[A-Za-z0-9_-]+(?:\[\])?(?:\.[A-Za-z0-9_-]+(?:\[\])?)*|\[\])?$/))
    .min(1)
    .optional(),
  fields: z.record(path, fieldSchema).optional(),
  text: fieldSchema.nullable(),
});

const segment = /^(?:[A-Za-z0-9._~-]+|\{[A-Za-z0-9_]+\})$/;

const routeSchema = z.strictObject({
  id: name,
  method: z.enum(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']),
  path: z
    .string()
    .startsWith('/')
    .max(1024)
    .refine(
      (template) => template === '/' || template.slice(1).split('/').every(isSegment),
      'each segment must be a literal or one {parameter}',
    ),
  class: z.enum(['read', 'write']),
  verb: name,
  objects: z.array(z.strictObject({ type: name, id: name, labels: z.array(name) })),
  safe: z.boolean(),
  rowsBand: z.enum(['none', 'small', 'large', 'bulk']),
  pathParameters: z.record(z.string(), name).default({}),
  queryParameters: z.record(z.string().regex(/^[A-Za-z0-9_.[\]-]{1,64}$/), name).default({}),
  response: name.nullable(),
  request: name.nullable(),
});

const fileSchema = z.strictObject({
  v: z.literal(1),
  classes: z.record(name, classSchema),
  /** Columns of a table and their classes, used by any number of shapes. */
  tables: z.record(name, z.record(path, fieldSchema)),
  shapes: z.record(name, shapeSchema),
  connections: z.record(name, z.strictObject({ routes: z.array(routeSchema).max(NAMES_MAX) })),
});

/** Throws GatewayError `catalogue_invalid`, whose detail names the first entry that is wrong. */
export function parseCatalogueFile(document: unknown): CatalogueFile {
  const parsed = fileSchema.safeParse(document);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new GatewayError('catalogue_invalid', `${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
  }
  return parsed.data;
}

function isSegment(text: string): boolean {
  // `.` and `..` are not names of anything: proxies and upstreams disagree about what they mean.
  return segment.test(text) && text !== '.' && text !== '..';
}
