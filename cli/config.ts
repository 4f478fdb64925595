import { Command } from 'commander';
import { contextOf, type CliContext } from './context.ts';
import { EXIT } from './exit-code.ts';

/** `chaperone config`: what is configured, and what is wrong with it. */
export function configCommand(): Command {
  const config = new Command('config').description('check and explain the configuration');
  config
    .command('check')
    .description('say every problem of the configuration; exit 2 when there is one')
    .action(async (_options: unknown, command: Command) => check(contextOf(command)));
  config
    .command('explain')
    .description('every value with where it comes from, relaxing switches that are on, settings without effect')
    .action(async (_options: unknown, command: Command) => explain(contextOf(command)));
  return config;
}

interface Problem {
  readonly path: string;
  readonly line: number;
  readonly message: string;
}

async function check(context: CliContext): Promise<void> {
  const [{ loadCliConfig }, { ConfigError }, { missingFiles }] = await Promise.all([
    import('./deployment.ts'),
    import('../core/runtime/config/load-config.ts'),
    import('./config-files.ts'),
  ]);
  let problems: readonly Problem[];
  let relaxing: readonly { path: string; value: string; meaning: string }[] = [];
  try {
    const loaded = loadCliConfig(context);
    problems = missingFiles(loaded.config).map(({ path, file }) => ({
      path,
      line: 0,
      message: `the file ${file} cannot be read`,
    }));
    ({ relaxing } = loaded);
  } catch (error) {
    if (!(error instanceof ConfigError)) {
      throw error;
    }
    ({ problems } = error);
  }
  const ok = problems.length === 0;
  if (context.json) {
    context.out(JSON.stringify({ ok, config: context.configPath, problems, relaxing }));
  } else {
    for (const { path, line, message } of problems) {
      const place = line === 0 ? context.configPath : `${context.configPath}:${line}`;
      context.out([place, path, message].filter((part) => part !== '').join(': '));
    }
    context.out(
      ok ? `${context.configPath}: no problem` : `${problems.length} problem${problems.length > 1 ? 's' : ''}`,
    );
    for (const { path, value, meaning } of relaxing) {
      context.out(`  relaxing: ${path} = ${value}: ${meaning}`);
    }
  }
  context.exit(ok ? EXIT.ok : EXIT.usage);
}

async function explain(context: CliContext): Promise<void> {
  const [{ loadCliConfig }, { explainConfig }, { table }] = await Promise.all([
    import('./deployment.ts'),
    import('../core/runtime/config/explain-config.ts'),
    import('./print.ts'),
  ]);
  const explanation = explainConfig(loadCliConfig(context));
  if (context.json) {
    context.out(JSON.stringify({ ok: true, config: context.configPath, ...explanation }));
    return;
  }
  const { values, relaxing, dead, digest } = explanation;
  for (const line of table(
    ['KEY', 'VALUE', 'FROM'],
    values.map(({ path, value, from }) => [path, value, from]),
  )) {
    context.out(line);
  }
  context.out('');
  context.out(relaxing.length === 0 ? 'No relaxing switch is on.' : 'Relaxing switches that are on:');
  for (const { path, value, meaning } of relaxing) {
    context.out(`  ${path} = ${value}: ${meaning}`);
  }
  context.out(dead.length === 0 ? 'No setting is without effect.' : 'Settings without effect:');
  for (const { path, why } of dead) {
    context.out(`  ${path}: ${why}`);
  }
  context.out(`Digest ${digest}`);
}
