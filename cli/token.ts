import { Command } from 'commander';
import type { DevelopmentTokenRequest } from '../gateway/contract/development-issuer.ts';
import { contextOf, type CliContext } from './context.ts';
import { DEMO_RUN } from './demo-run.ts';
import { positiveSeconds, sha256Hex } from './option-values.ts';

interface TokenOptions {
  readonly person: string;
  readonly agent: string;
  readonly service?: boolean;
  readonly run: string;
  readonly repository: string;
  readonly repositoryId: string;
  readonly commit: string;
  readonly ref: string;
  readonly workflow: string;
  readonly scriptDigest?: string;
  readonly purpose: string;
  readonly env: string;
  readonly ttl: number;
  readonly audience?: string;
}

/** `chaperone token`: what a CI run of an agent would get from its issuer, signed with the demo's published key. */
export function tokenCommand(): Command {
  return new Command('token')
    .description('print a token of the development issuer (only with env: demo)')
    .option('--person <id>', 'the human at the root of the chain, or a full `sub`', DEMO_RUN.person)
    .option('--agent <name>', 'the AI agent that acts for the person; `none` for nobody', DEMO_RUN.agent)
    .option('--service', 'the root is a service account, not a human')
    .option('--run <id>', 'id of the CI run; `none` for a token without a run', DEMO_RUN.runId)
    .option('--repository <name>', 'repository of the run', DEMO_RUN.repository)
    .option('--repository-id <id>', 'numeric id of the repository', DEMO_RUN.repositoryId)
    .option('--commit <sha>', 'commit of the run', DEMO_RUN.commit)
    .option('--ref <ref>', 'ref of the run', DEMO_RUN.ref)
    .option('--workflow <ref>', 'workflow of the run', DEMO_RUN.workflow)
    .option('--script-digest <hex>', 'SHA-256 of the generated script that the run executes', sha256Hex)
    .option('--purpose <text>', 'what the run is for', 'analytics')
    .option('--env <name>', 'environment that the run works on', 'staging')
    .option('--ttl <seconds>', 'life of the token in seconds', positiveSeconds, 3600)
    .option('--audience <name>', 'audience (default: identity.audience of the configuration)')
    .action(async (options: TokenOptions, command: Command) => printToken(contextOf(command), options));
}

async function printToken(context: CliContext, options: TokenOptions): Promise<void> {
  const [{ loadCliConfig }, { DevelopmentIssuer }, { readPrivateText }, { GatewayError }, { randomUUID }] =
    await Promise.all([
      import('./deployment.ts'),
      import('../gateway/contract/development-issuer.ts'),
      import('./key-file.ts'),
      import('../core/kernel/errors.ts'),
      import('node:crypto'),
    ]);
  const { config } = loadCliConfig(context);
  if (config.env !== 'demo') {
    throw new GatewayError('config_invalid', `the development issuer signs only with env: demo, this is ${config.env}`);
  }
  const path = config.demo.issuerKeyFile;
  if (path === undefined) {
    throw new GatewayError('config_invalid', 'demo.issuerKeyFile is not configured');
  }
  const issuer = DevelopmentIssuer.fromJwk(readPrivateText(path, config.env));
  const request = tokenRequest(options, options.audience ?? config.identity.audience, context.clock.nowMs());
  const token = issuer.issue({ ...request, jti: randomUUID() });
  if (context.json) {
    const { sub, nowMs, ttlMs } = request;
    context.out(JSON.stringify({ token, iss: issuer.iss, sub, expiresMs: nowMs + ttlMs }));
  } else {
    context.out(token);
  }
}

/** What is asked of the issuer; `jti` is added when it is signed. */
export function tokenRequest(options: TokenOptions, audience: string, nowMs: number): DevelopmentTokenRequest {
  const { person, agent, run } = options;
  return {
    audience,
    sub: person.includes('@') || options.service === true ? person : `${person}@demo.invalid`,
    principalKind: options.service === true ? 'service' : 'user',
    actors: agent === 'none' ? [] : [{ sub: agent, kind: 'ai_agent' }],
    ...(run === 'none' ? {} : { run: runOf(options) }),
    purpose: options.purpose,
    env: options.env,
    nowMs,
    ttlMs: options.ttl * 1000,
  };
}

function runOf(options: TokenOptions): NonNullable<DevelopmentTokenRequest['run']> {
  return {
    repositoryId: options.repositoryId,
    repository: options.repository,
    ref: options.ref,
    sha: options.commit,
    workflowRef: options.workflow,
    runId: options.run,
    ...(options.scriptDigest === undefined ? {} : { scriptDigest: options.scriptDigest }),
  };
}
