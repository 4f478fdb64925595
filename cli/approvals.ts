import { Command } from 'commander';
import type { JsonValue } from '../core/kernel/canonical-json.ts';
import type { ApprovalView } from '../proto/gen/chaperone/control/v1/approval.ts';
import { contextOf, type CliContext } from './context.ts';
import type { ControlClient } from './control-client.ts';
import { EXIT, type ExitCode } from './exit-code.ts';
import { positiveSeconds } from './option-values.ts';

interface KeyOptions {
  readonly person?: string;
  readonly key?: string;
  readonly previewKey?: string;
}

interface DecideOptions extends KeyOptions {
  readonly person: string;
  readonly reason: string;
  readonly shown?: string;
}

const STATES = ['pending', 'approved', 'denied', 'expired', 'cancelled', 'failed', 'all'] as const;

/** `chaperone approvals`: what waits for a person, and a person's signed decision. */
export function approvalsCommand(): Command {
  const approvals = new Command('approvals').description('list, show, decide and wait for approvals');
  approvals
    .command('ls')
    .description('list approvals')
    .option('--state <state>', `one of ${STATES.join(', ')}`, 'pending')
    .action(async ({ state }: { state: string }, command: Command) => list(contextOf(command), state));
  withKeys(approvals.command('get').argument('<id>').description('show one approval as its approver sees it')).action(
    async (id: string, options: KeyOptions, command: Command) => show(contextOf(command), id, options),
  );
  for (const decision of ['approve', 'deny'] as const) {
    withKeys(
      approvals
        .command(decision)
        .argument('<id>')
        .description(`${decision} an approval with a signature over exactly what is shown`)
        .option('--shown <hex>', 'refuse unless the digest of what is shown begins with this')
        .option('--reason <text>', 'why; the requester gets it', ''),
    ).action(async (id: string, options: KeyOptions & { reason: string; shown?: string }, command: Command) => {
      if (options.person === undefined) {
        command.error("error: required option '--person <id>' not specified");
      }
      await decide(contextOf(command), id, decision, options as DecideOptions);
    });
  }
  approvals
    .command('wait')
    .argument('<id>')
    .description('wait until an approval is decided or expires')
    .option('--timeout <seconds>', 'give up after this time', positiveSeconds, 900)
    .action(async (id: string, { timeout }: { timeout: number }, command: Command) =>
      wait(contextOf(command), id, timeout * 1000),
    );
  return approvals;
}

/** What `wait` ends with, and what an agent may do next. */
export function exitCodeOfState(state: string): ExitCode {
  switch (state) {
    case 'approved':
      return EXIT.ok;
    case 'pending':
      return EXIT.pending;
    default:
      return EXIT.refused;
  }
}

function withKeys(command: Command): Command {
  return command
    .option('--person <id>', 'the approver, as the people map names them')
    .option('--key <file>', "the approver's private Ed25519 key (JWK); in the demo found by name")
    .option('--preview-key <file>', "the approver's private X25519 key (JWK); default: beside --key");
}

async function list(context: CliContext, state: string): Promise<void> {
  const [{ withControl }, { durationText, printable, table }] = await Promise.all([
    import('./deployment.ts'),
    import('./print.ts'),
  ]);
  const approvals = await withControl(context, (control) => control.listApprovals(state === 'all' ? '' : state));
  if (context.json) {
    context.out(JSON.stringify({ ok: true, approvals: approvals.map(approvalJson) }));
    return;
  }
  if (approvals.length === 0) {
    context.out(state === 'all' ? 'No approvals.' : `No ${state} approvals.`);
    return;
  }
  const nowMs = context.clock.nowMs();
  const rows = approvals.map((view) => [
    view.id,
    view.state,
    printable([view.requester, view.agent].filter((part) => part !== '').join(' > ')),
    printable(view.summary),
    `${view.decisions.filter((one) => one.decision === 'approve').length}/${view.quorum}`,
    view.state === 'pending' ? durationText(Number(view.expiresMs) - nowMs) : '',
  ]);
  for (const line of table(['ID', 'STATE', 'WHO', 'WHAT', 'GIVEN', 'LEFT'], rows)) {
    context.out(line);
  }
}

async function show(context: CliContext, id: string, options: KeyOptions): Promise<void> {
  const [{ withControl }, { openWithKeys }] = await Promise.all([
    import('./deployment.ts'),
    import('./approval-keys.ts'),
  ]);
  await withControl(context, async (control, config) => {
    const view = await control.getApproval(id);
    const opened = options.person === undefined ? null : await openWithKeys(view, options.person, options, config);
    await printCard(context, control, view, opened?.preview ?? null);
  });
}

async function decide(
  context: CliContext,
  id: string,
  decision: 'approve' | 'deny',
  options: DecideOptions,
): Promise<void> {
  const [{ withControl }, { openWithKeys }, { parseShown }, { signDecision }, { GatewayError }] = await Promise.all([
    import('./deployment.ts'),
    import('./approval-keys.ts'),
    import('./approval-card.ts'),
    import('../gateway/contract/approval-decision.ts'),
    import('../core/kernel/errors.ts'),
  ]);
  await withControl(context, async (control, config) => {
    const view = await control.getApproval(id);
    const opened = await openWithKeys(view, options.person, options, config);
    if (!context.json) {
      await printCard(context, control, view, opened.preview);
      context.out('');
    }
    const shownDigest = Buffer.from(view.shownDigest);
    if (options.shown !== undefined && !shownDigest.toString('hex').startsWith(options.shown)) {
      throw new GatewayError('approval_signature', 'this is not what --shown names: look at it again');
    }
    const { person, reason } = options;
    const isJustified = decision === 'deny' || parseShown(view.shown).approvals.some((one) => one.justify);
    if (isJustified && reason.trim() === '') {
      throw new GatewayError(
        'config_invalid',
        'this decision needs --reason <text>; the requester and the record get it',
      );
    }
    const decidedMs = context.clock.nowMs();
    const signature = signDecision(
      {
        approvalId: view.id,
        opDigest: Buffer.from(view.opDigest),
        shown: Buffer.from(view.shown).toString('utf8'),
        previewHash: Buffer.from(view.previewHash),
        shownDigest,
        decision,
        person,
        reason,
        decidedMs,
      },
      opened.signingKey.key,
    );
    const { approval, receipt } = await control.decideApproval({
      id: view.id,
      decision,
      person,
      keyId: opened.signingKey.keyId,
      reason,
      decidedMs: BigInt(decidedMs),
      signature,
    });
    const state = approval?.state ?? 'unknown';
    const position = receipt === undefined ? '' : `${receipt.writer}/${receipt.index}`;
    if (context.json) {
      context.out(JSON.stringify({ ok: true, id: view.id, decision, state, record: position }));
    } else {
      context.out(`${decision === 'approve' ? 'Approved' : 'Denied'} by ${person}; the approval is ${state}.`);
      context.out(`Record ${position}`);
    }
  });
}

async function wait(context: CliContext, id: string, timeoutMs: number): Promise<void> {
  const { withControl } = await import('./deployment.ts');
  await withControl(context, async (control) => {
    const untilMs = context.clock.monotonicMs() + timeoutMs;
    let view = await control.getApproval(id);
    while (view.state === 'pending' && context.clock.monotonicMs() < untilMs) {
      const waitMs = Math.ceil(Math.min(WAIT_CALL_MS, untilMs - context.clock.monotonicMs()));
      view = await control.waitApproval(id, waitMs);
    }
    const reason = view.decisions.find((one) => one.decision === 'deny')?.reason ?? '';
    if (context.json) {
      context.out(JSON.stringify({ ok: view.state === 'approved', id, state: view.state, reason }));
    } else {
      context.out(`${id}: ${view.state}${reason === '' ? '' : `: ${reason}`}`);
    }
    context.exit(exitCodeOfState(view.state));
  });
}

/** The server answers a wait after a minute at most. */
const WAIT_CALL_MS = 30_000;

async function printCard(
  context: CliContext,
  control: ControlClient,
  view: ApprovalView,
  preview: Readonly<Record<string, JsonValue>> | null,
): Promise<void> {
  const { approvalCard, parseShown } = await import('./approval-card.ts');
  const shown = parseShown(view.shown);
  if (context.json) {
    context.out(JSON.stringify({ ok: true, approval: approvalJson(view), shown, preview }));
    return;
  }
  const others = await control.listApprovals('');
  const earlier = others.filter((other) => other.requester === view.requester && other.id !== view.id);
  for (const line of approvalCard({ view, shown, preview, nowMs: context.clock.nowMs(), earlier })) {
    context.out(line);
  }
}

/** Without the sealed previews: they are for one reader each. */
function approvalJson(view: ApprovalView): Record<string, unknown> {
  const { previews, opDigest, shownDigest, previewHash, shown: _shown, askedMs, expiresMs, decisions, ...rest } = view;
  return {
    ...rest,
    askedMs: Number(askedMs),
    expiresMs: Number(expiresMs),
    opDigest: Buffer.from(opDigest).toString('hex'),
    shownDigest: Buffer.from(shownDigest).toString('hex'),
    previewHash: Buffer.from(previewHash).toString('hex'),
    decisions: decisions.map((decision) => ({ ...decision, decidedMs: Number(decision.decidedMs) })),
    previewsFor: [...new Set(previews.map((preview) => preview.person))],
  };
}
