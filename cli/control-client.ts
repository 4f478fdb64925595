import { type CallOptions, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { ERROR_CODES, type ErrorCode, GatewayError } from '../core/kernel/errors.ts';
import type { Config } from '../core/runtime/config/config-schema.ts';
import { CLIENT_CHANNEL_OPTIONS, clientCredentials } from '../core/runtime/mtls/grpc-credentials.ts';
import { loadTls } from '../core/runtime/mtls/tls-files.ts';
import {
  ApprovalServiceClient,
  type ApprovalView,
  type AttestScriptResponse,
  type DecideApprovalRequest,
  type DecideApprovalResponse,
  type GetApprovalResponse,
  type ListApprovalsResponse,
  type WaitApprovalResponse,
} from '../proto/gen/chaperone/control/v1/approval.ts';
import {
  EvidenceServiceClient,
  type GetHeadsResponse,
  type GetProofResponse,
} from '../proto/gen/chaperone/control/v1/evidence.ts';
import { NodeServiceClient, type StatusResponse } from '../proto/gen/chaperone/control/v1/node.ts';
import { tlsPathsOf } from './up/prepare.ts';

const TIMEOUT_MS = 10_000;
/** What a wait may take longer than it was asked to. */
const WAIT_MARGIN_MS = 5_000;

type Invoke<Response> = (
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: (error: ServiceError | null, response: Response) => void,
) => unknown;

/**
 * A node's control plane as the operator of this machine sees it: gRPC over mTLS with the `operator` certificate. Every
 * call rejects with the GatewayError of the server, or with `upstream_unreachable`.
 */
export class ControlClient {
  readonly #approvals: ApprovalServiceClient;
  readonly #evidence: EvidenceServiceClient;
  readonly #node: NodeServiceClient;
  readonly #address: string;

  private constructor(address: string, credentials: ReturnType<typeof clientCredentials>) {
    this.#address = address;
    this.#approvals = new ApprovalServiceClient(address, credentials, CLIENT_CHANNEL_OPTIONS);
    this.#evidence = new EvidenceServiceClient(address, credentials, CLIENT_CHANNEL_OPTIONS);
    this.#node = new NodeServiceClient(address, credentials, CLIENT_CHANNEL_OPTIONS);
  }

  /** Rejects `config_invalid` when there is no operator certificate. */
  static async open(config: Config, address: string): Promise<ControlClient> {
    const tls = await loadTls(tlsPathsOf(config, 'operator', 'operator'));
    return new ControlClient(address, clientCredentials(tls, 'gateway'));
  }

  /** Of one state; of every state when it is empty. */
  async listApprovals(state: string): Promise<ApprovalView[]> {
    const { approvals } = await this.#call<ListApprovalsResponse>((...call) =>
      this.#approvals.listApprovals({ state }, ...call),
    );
    return approvals;
  }

  async getApproval(id: string): Promise<ApprovalView> {
    const { approval } = await this.#call<GetApprovalResponse>((...call) =>
      this.#approvals.getApproval({ id }, ...call),
    );
    return present(approval, id);
  }

  /** Answers when the approval is no longer pending, or after `waitMs`. */
  async waitApproval(id: string, waitMs: number): Promise<ApprovalView> {
    const { approval } = await this.#call<WaitApprovalResponse>(
      (...call) => this.#approvals.waitApproval({ id, waitMs }, ...call),
      waitMs + WAIT_MARGIN_MS,
    );
    return present(approval, id);
  }

  decideApproval(request: DecideApprovalRequest): Promise<DecideApprovalResponse> {
    return this.#call((...call) => this.#approvals.decideApproval(request, ...call));
  }

  attestScript(envelope: Buffer): Promise<AttestScriptResponse> {
    return this.#call((...call) => this.#approvals.attestScript({ envelope }, ...call));
  }

  /** Encoded heads, the newest of each writer of the node. */
  async heads(): Promise<Buffer[]> {
    const { heads } = await this.#call<GetHeadsResponse>((...call) => this.#evidence.getHeads({}, ...call));
    return heads.map((head) => Buffer.from(head));
  }

  /** Ids of the workers' writers. */
  async writers(): Promise<string[]> {
    const { workers } = await this.#call<StatusResponse>((...call) => this.#node.status({}, ...call));
    return workers.map(({ writer }) => writer);
  }

  proof(writer: string, index: number): Promise<GetProofResponse> {
    return this.#call((...call) => this.#evidence.getProof({ writer, index: BigInt(index) }, ...call));
  }

  close(): void {
    this.#approvals.close();
    this.#evidence.close();
    this.#node.close();
  }

  #call<Response>(invoke: Invoke<Response>, timeoutMs = TIMEOUT_MS): Promise<Response> {
    return new Promise((resolve, reject) => {
      invoke(new Metadata(), { deadline: new Date(Date.now() + timeoutMs) }, (error, response) => {
        if (error === null) {
          resolve(response);
        } else {
          reject(fromStatus(error, this.#address));
        }
      });
    });
  }
}

function present(approval: ApprovalView | undefined, id: string): ApprovalView {
  if (approval === undefined) {
    throw new GatewayError('approval_not_found', id);
  }
  return approval;
}

/** The server writes `code: detail` for what it refuses; anything else is about the way there. */
function fromStatus(error: ServiceError, address: string): GatewayError {
  const [, code = '', detail = ''] = /^([a-z_]+)(?:: ([\s\S]*))?$/.exec(error.details) ?? [];
  if (code in ERROR_CODES) {
    return new GatewayError(code as ErrorCode, detail);
  }
  if (error.code === status.UNAVAILABLE || error.code === status.DEADLINE_EXCEEDED) {
    return new GatewayError('upstream_unreachable', `the gateway's control plane at ${address} does not answer`);
  }
  if (error.code === status.UNAUTHENTICATED || error.code === status.PERMISSION_DENIED) {
    return new GatewayError('auth_invalid', error.details);
  }
  return new GatewayError('internal', `the gateway answered ${status[error.code] ?? error.code}`);
}
