import type { Config } from '../core/runtime/config/config-schema.ts';
import type { LoadedConfig } from '../core/runtime/config/load-config.ts';
import { readConfigFile } from '../core/runtime/config/read-config-file.ts';
import type { CliContext } from './context.ts';
import type { ControlClient } from './control-client.ts';
import { type RunFile, runningDeployment } from './run-file.ts';

/** The configuration that `--config` and `--set` name. Throws ConfigError with every problem. */
export function loadCliConfig(context: CliContext): LoadedConfig {
  return readConfigFile({ path: context.configPath, env: context.env, flags: context.sets });
}

/** Runs `work` with a connection to the control plane of the deployment that runs on the configured data directory. */
export async function withControl<T>(
  context: CliContext,
  work: (control: ControlClient, config: Config, run: RunFile) => Promise<T>,
): Promise<T> {
  const { ControlClient } = await import('./control-client.ts');
  const { config } = loadCliConfig(context);
  const run = runningDeployment(config.node.dataDir);
  const control = await ControlClient.open(config, run.control);
  try {
    return await work(control, config, run);
  } finally {
    control.close();
  }
}
