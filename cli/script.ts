import { resolve } from 'node:path';
import { Command } from 'commander';
import { contextOf, type CliContext } from './context.ts';
import { DEMO_RUN } from './demo-run.ts';
import { sha256Hex } from './option-values.ts';

interface AttestOptions {
  readonly script?: string;
  readonly digest?: string;
  readonly repository: string;
  readonly commit: string;
  readonly person: string;
  readonly key?: string;
}

/** `chaperone script attest`: a reviewer's signed statement (DSSE) about the script that a run executes. */
export function scriptCommand(): Command {
  const script = new Command('script').description('statements about generated scripts');
  script
    .command('attest')
    .description('sign that a script was reviewed, and have it recorded')
    .option('--script <file>', 'the script; its SHA-256 is what is attested')
    .option('--digest <hex>', 'SHA-256 of the script, instead of the file', sha256Hex)
    .option('--repository <name>', 'repository of the run', DEMO_RUN.repository)
    .option('--commit <sha>', 'commit of the run', DEMO_RUN.commit)
    .requiredOption('--person <id>', 'the reviewer, as the people map names them')
    .option('--key <file>', "the reviewer's private Ed25519 key (JWK); in the demo found by name")
    .action(async (options: AttestOptions, command: Command) => {
      if ((options.script === undefined) === (options.digest === undefined)) {
        command.error('error: give either --script <file> or --digest <hex>');
      }
      await attest(contextOf(command), options);
    });
  return script;
}

async function attest(context: CliContext, options: AttestOptions): Promise<void> {
  const [{ withControl }, { demoKeyFile, readPrivateJwk }, { signScriptAttestation }, { GatewayError }] =
    await Promise.all([
      import('./deployment.ts'),
      import('./key-file.ts'),
      import('../gateway/contract/script-attestation.ts'),
      import('../core/kernel/errors.ts'),
    ]);
  const scriptDigest = options.digest ?? (await digestOfFile(resolve(context.cwd, options.script ?? '')));
  await withControl(context, async (control, config) => {
    const { person, repository, commit } = options;
    const path = options.key === undefined ? demoKeyFile(config, person, 'ed25519') : resolve(options.key);
    if (path === undefined) {
      throw new GatewayError('config_invalid', `--key is needed: the private Ed25519 key of ${person}`);
    }
    const { key, keyId } = readPrivateJwk(path, 'Ed25519', config.env);
    const reviewedMs = context.clock.nowMs();
    const statement = { scriptDigest, reviewer: person, repository, commit, reviewedMs };
    const envelope = Buffer.from(signScriptAttestation(statement, keyId, key), 'utf8');
    const { reviewer, receipt } = await control.attestScript(envelope);
    const record = receipt === undefined ? '' : `${receipt.writer}/${receipt.index}`;
    if (context.json) {
      context.out(JSON.stringify({ ok: true, scriptDigest, reviewer, repository, commit, record }));
    } else {
      context.out(`${reviewer} reviewed ${scriptDigest}`);
      context.out(`  for ${repository} at ${commit}`);
      context.out(`Record ${record}`);
    }
  });
}

async function digestOfFile(path: string): Promise<string> {
  const [{ createHash }, { readFile }, { GatewayError }] = await Promise.all([
    import('node:crypto'),
    import('node:fs/promises'),
    import('../core/kernel/errors.ts'),
  ]);
  const bytes = await readFile(path).catch(() => {
    throw new GatewayError('config_invalid', `cannot read ${path}`);
  });
  return createHash('sha256').update(bytes).digest('hex');
}
