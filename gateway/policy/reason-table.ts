import { z } from 'zod';
import { GatewayError } from '../../core/kernel/errors.ts';
import type { VerdictReason } from '../contract/verdict.ts';
import type { MergedReason } from './lattice.ts';

/** What a rule's METADATA says of its reason. `{name}` in a message stands for an argument of that name. */
export interface ReasonEntry {
  readonly message: string;
  readonly remediation: string;
  readonly control: string;
  readonly severity: string;
}

export type ReasonTable = Readonly<Record<string, ReasonEntry>>;

const text = z.string().min(1).max(1024);
const fileSchema = z.strictObject({
  v: z.literal(1),
  reasons: z.record(
    z.string().min(1).max(128),
    z.strictObject({
      message: text,
      remediation: text,
      control: text,
      severity: z.enum(['low', 'medium', 'high', 'critical']),
    }),
  ),
});

/** `reasons.json` of a bundle, made from the annotations at build. Throws GatewayError `bundle_invalid`. */
export function parseReasonTable(document: unknown): ReasonTable {
  const parsed = fileSchema.safeParse(document);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new GatewayError('bundle_invalid', `reasons.json: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
  }
  return parsed.data.reasons;
}

/** A code that the table lacks (a drop-in policy) stands for itself. */
export function resolveReason(reason: MergedReason, table: ReasonTable): VerdictReason {
  const entry = Object.hasOwn(table, reason.code) ? table[reason.code] : undefined;
  return {
    code: reason.code,
    message: entry === undefined ? reason.code : fill(entry.message, reason.args),
    remediation: entry?.remediation ?? '',
    control: entry?.control ?? '',
    layer: reason.layer,
  };
}

function fill(message: string, args: MergedReason['args']): string {
  return message.replaceAll(/\{([a-z_]+)\}/g, (whole, name: string) =>
    Object.hasOwn(args, name) ? (args[name] as string) : whole,
  );
}
