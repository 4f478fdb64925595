import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { isAbsolute, join, relative, resolve, sep } from 'node:path';
import { GatewayError } from '../../core/kernel/errors.ts';
import { decodeVerifierKey } from '../../core/ledger/verifier-key.ts';
import type { CliContext } from '../context.ts';
import { loadCliConfig } from '../deployment.ts';
import { isAlive, readRunFile, type RunFile } from '../run-file.ts';
import type { CheckpointKeys } from './checkpoints.ts';
import { isDirectory } from './evidence-files.ts';

/** A folder of the evidence, and how its files are named in findings. */
export interface EvidenceFolder {
  readonly directory: string;
  /** Ends in `/`. */
  readonly prefix: string;
}

/** How ClickHouse is asked. */
export interface RowAccess {
  readonly url: string;
  readonly username: string;
  readonly password: string;
  readonly database: string;
}

/** What there is to verify, and what to verify it with. Null: not there, or not known; the report says so. */
export interface EvidenceSources {
  /** Files in findings are named relative to this. */
  readonly root: string;
  readonly journals: EvidenceFolder | null;
  readonly archive: EvidenceFolder | null;
  readonly bus: EvidenceFolder | null;
  readonly clusterLog: EvidenceFolder | null;
  readonly clusterCas: readonly string[] | null;
  readonly keys: CheckpointKeys;
  readonly rows: RowAccess | null;
  /** Processes write while we read. */
  readonly live: boolean;
  /** The node whose gateway process runs now; null for a copy, and while it is down. */
  readonly livingNode: string | null;
  /** The keys come from the evidence itself, not from whoever verifies. */
  readonly keysFromEvidence: boolean;
}

export interface SourceOptions {
  readonly data?: string;
  readonly journals?: string;
  readonly archive?: string;
  readonly bus?: string;
  readonly clusterLog?: string;
  readonly ca?: string;
  readonly logKey?: string;
  readonly witnessKey?: readonly string[];
}

interface Layout {
  readonly dataDir: string;
  readonly archive: string;
  readonly bus: string;
  readonly sequencer: string;
  readonly ca: string;
}

/**
 * Finds the evidence of a running deployment (`--config`), of a data directory or a copy of one (`--data`), or single
 * folders. A copy is cold whatever runs elsewhere: the run file in it names another directory.
 * Throws `config_invalid` for a folder that was named and is not there.
 */
export function evidenceSources(context: CliContext, options: SourceOptions): EvidenceSources {
  const at = (path: string): string => resolve(context.cwd, path);
  const single = [options.journals, options.archive, options.bus, options.clusterLog];
  const alone = options.data === undefined && single.some((path) => path !== undefined);
  const layout = alone ? null : layoutOf(context, options.data === undefined ? null : at(options.data));
  const run = layout === null ? null : readRunFile(layout.dataDir);
  const live = run !== null && layout !== null && runsIn(run, layout.dataDir);
  const root = layout?.dataDir ?? context.cwd;
  const folder = (named: string | undefined, ours: string | null): EvidenceFolder | null => {
    if (named !== undefined && !isDirectory(at(named))) {
      throw new GatewayError('config_invalid', `there is no folder ${named}`);
    }
    const directory = named === undefined ? ours : at(named);
    return directory === null || !isDirectory(directory) ? null : { directory, prefix: prefixOf(root, directory) };
  };
  const { clusterCas, keys } = trustOf(context, options, layout, run);
  const own = options.ca !== undefined && options.logKey !== undefined;
  const gateway = run?.pids['gateway'];
  return {
    root,
    journals: folder(options.journals, layout === null ? null : join(layout.dataDir, 'journal')),
    archive: folder(options.archive, layout?.archive ?? null),
    bus: folder(options.bus, layout?.bus ?? null),
    clusterLog: folder(options.clusterLog, layout === null ? null : clusterLogIn(layout.sequencer)),
    clusterCas,
    keys,
    rows: live ? run.clickhouse : null,
    live,
    livingNode: live && gateway !== undefined && isAlive(gateway) ? run.node : null,
    keysFromEvidence: options.data !== undefined && !own,
  };
}

/** The file that a finding names. */
export function fileOf({ root }: Pick<EvidenceSources, 'root'>, file: string): string {
  return resolve(root, file);
}

export function prefixOf(root: string, directory: string): string {
  const path = relative(root, directory);
  const inside = path !== '' && !path.startsWith('..') && !isAbsolute(path);
  return `${(inside ? path : directory).split(sep).join('/')}/`;
}

function layoutOf(context: CliContext, data: string | null): Layout {
  if (data === null) {
    const { config } = loadCliConfig(context);
    return {
      dataDir: config.node.dataDir,
      archive: config.ingest.archive,
      bus: config.bus.directory,
      sequencer: config.sequencer.directory,
      ca: join(config.tls.directory, 'ca.pem'),
    };
  }
  if (!isDirectory(data)) {
    throw new GatewayError('config_invalid', `there is no folder ${data}`);
  }
  return {
    dataDir: data,
    archive: join(data, 'archive'),
    bus: join(data, 'bus'),
    sequencer: join(data, 'sequencer'),
    ca: join(data, 'tls', 'ca.pem'),
  };
}

function clusterLogIn(sequencer: string): string {
  return isDirectory(join(sequencer, 'log')) ? join(sequencer, 'log') : sequencer;
}

function runsIn(run: RunFile, dataDir: string): boolean {
  return (
    run.stoppedMs === null &&
    isAlive(run.pid) &&
    existsSync(run.dataDir) &&
    realpathSync(run.dataDir) === realpathSync(dataDir)
  );
}

function trustOf(
  context: CliContext,
  options: SourceOptions,
  layout: Layout | null,
  run: RunFile | null,
): { clusterCas: string[] | null; keys: CheckpointKeys } {
  const ca = options.ca === undefined ? layout?.ca : resolve(context.cwd, options.ca);
  if (options.ca !== undefined && (ca === undefined || !existsSync(ca))) {
    throw new GatewayError('config_invalid', `there is no file ${options.ca}`);
  }
  const log = options.logKey ?? run?.logKey;
  const witnesses = options.witnessKey ?? run?.witnessKeys ?? [];
  return {
    clusterCas: ca === undefined || !existsSync(ca) ? null : [readFileSync(ca, 'utf8')],
    keys: {
      log: log === undefined ? null : decodeVerifierKey(log),
      witnesses: witnesses.map(decodeVerifierKey),
    },
  };
}
