import { z } from 'zod';
import { GatewayError } from '../../core/kernel/errors.ts';
import { parseStrictJson } from './strict-json.ts';

const claim = z.string().min(1).max(128);

const ciSchema = z.strictObject({
  repoId: claim.default('repository_id'),
  repository: claim.default('repository'),
  ref: claim.default('ref'),
  sha: claim.default('sha'),
  workflow: claim.default('workflow_ref'),
  runId: claim.default('run_id'),
  environment: claim.default('environment'),
  scriptDigest: claim.default('script_digest'),
  /** Refuse tokens without a run. */
  required: z.boolean().default(false),
});

const mappingSchema = z.strictObject({
  version: z.literal(1),
  /** What a principal of this issuer is, unless `principalKindClaim` is present and says `user` or `service`. */
  principalKind: z.enum(['user', 'service']),
  principalKindClaim: claim.optional(),
  /** What an `act` entry is, unless its own member `actorKindClaim` says `ai_agent` or `service`. */
  actorKind: z.enum(['ai_agent', 'service']).default('ai_agent'),
  actorKindClaim: claim.optional(),
  /** Other issuers that this one may vouch for in `act`. An actor of any other issuer makes the chain unverified. */
  actorIssuers: z.array(z.string().min(1).max(512)).max(64).default([]),
  groupsClaim: claim.optional(),
  purposeClaim: claim.optional(),
  envClaim: claim.optional(),
  mfa: z.strictObject({ claim, values: z.array(z.string()).min(1) }).optional(),
  /** Claims that name further people behind the request (the CI system's `actor`): they join the chain as `<claim>:<value>`. */
  chainClaims: z.array(claim).max(16).default([]),
  /** Claims that must have one of the listed values, such as the numeric id of the repository's owner. */
  require: z.record(claim, z.array(z.string()).min(1)).default({}),
  ci: ciSchema.optional(),
});

/** How the claims of one issuer become a Subject: a file for each issuer, named in the configuration. */
export type ClaimMapping = z.infer<typeof mappingSchema>;
export type CiMapping = z.infer<typeof ciSchema>;

/** Plain OpenID Connect: people, no CI. */
export const OIDC_MAPPING: ClaimMapping = mappingSchema.parse({
  version: 1,
  principalKind: 'user',
  groupsClaim: 'groups',
  mfa: { claim: 'amr', values: ['mfa', 'hwk', 'otp'] },
});

/** GitHub Actions and whatever uses its claim names. `actor` started the run: never an approver of it. */
export const GITHUB_ACTIONS_MAPPING: ClaimMapping = mappingSchema.parse({
  version: 1,
  principalKind: 'service',
  principalKindClaim: 'principal_kind',
  actorKindClaim: 'kind',
  purposeClaim: 'purpose',
  envClaim: 'env',
  chainClaims: ['actor'],
  ci: {},
});

export const BUILT_IN_MAPPINGS: Readonly<Record<string, ClaimMapping>> = {
  oidc: OIDC_MAPPING,
  'github-actions': GITHUB_ACTIONS_MAPPING,
};

/** Reads a claim mapping file (JSON). Throws GatewayError `config_invalid`. */
export function parseClaimMapping(text: string): ClaimMapping {
  const parsed = mappingSchema.safeParse(parseStrictJson(text));
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new GatewayError('config_invalid', `claim mapping: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
  }
  return parsed.data;
}
