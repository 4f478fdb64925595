import { GatewayError } from '../../core/kernel/errors.ts';
import {
  ApprovalServiceService,
  type ApprovalView,
  type AttestScriptRequest,
  type DecideApprovalRequest,
  type GetApprovalRequest,
  type ListApprovalsRequest,
  type WaitApprovalRequest,
} from '../../proto/gen/chaperone/control/v1/approval.ts';
import type { ApprovalDesk } from '../approvals/approval-desk.ts';
import type { RecordReceipt } from '../approvals/record-queue.ts';
import { guarded, type ControlService } from './grpc-server.ts';

const WAIT_MS_MAX = 60_000;

/**
 * The desk for people. The certificate says only that the caller belongs to the cluster; who decides is proved by the
 * signature in the request, which the desk checks against the people map of now.
 */
export function approvalService(cluster: string, desk: ApprovalDesk): ControlService {
  const people = ['operator', 'auditor'] as const;
  return {
    definition: ApprovalServiceService,
    implementation: {
      listApprovals: guarded(cluster, people, (request: ListApprovalsRequest) => ({
        approvals: desk.list(request.state),
      })),
      getApproval: guarded(cluster, people, (request: GetApprovalRequest) => ({ approval: desk.get(request.id) })),
      decideApproval: guarded(cluster, people, async (request: DecideApprovalRequest) => {
        const { view, receipt } = await desk.decide({
          id: request.id,
          decision: decisionOf(request.decision),
          person: request.person,
          keyId: request.keyId,
          reason: request.reason,
          decidedMs: Number(request.decidedMs),
          signature: Buffer.from(request.signature),
        });
        return { approval: view, receipt: receiptMessage(receipt) };
      }),
      waitApproval: guarded(
        cluster,
        people,
        async (request: WaitApprovalRequest): Promise<{ approval: ApprovalView }> => {
          await desk.wait(request.id, Math.min(request.waitMs, WAIT_MS_MAX));
          return { approval: desk.get(request.id) };
        },
      ),
      attestScript: guarded(cluster, people, async (request: AttestScriptRequest) => {
        const { review, receipt } = await desk.attest(Buffer.from(request.envelope));
        return { scriptDigest: review.scriptDigest, reviewer: review.reviewer, receipt: receiptMessage(receipt) };
      }),
    },
  };
}

function decisionOf(text: string): 'approve' | 'deny' {
  if (text !== 'approve' && text !== 'deny') {
    throw new GatewayError('protocol_malformed', 'a decision is approve or deny');
  }
  return text;
}

function receiptMessage(receipt: RecordReceipt): { writer: string; index: bigint; leafHash: Buffer } {
  return { writer: receipt.writer, index: BigInt(receipt.index), leafHash: receipt.leafHash };
}
