import { NodeServiceService, type StatusResponse } from '../../proto/gen/chaperone/control/v1/node.ts';
import {
  EvidenceServiceService,
  type GetProofRequest,
  type GetProofResponse,
} from '../../proto/gen/chaperone/control/v1/evidence.ts';
import { guarded, type ControlService } from './grpc-server.ts';

export interface NodePort {
  status(): StatusResponse;
  /** Begins the drain; the process ends when it is done. */
  drain(): void;
}

export interface EvidencePort {
  /** Encoded heads, the newest of every writer of this node. */
  heads(): Promise<Buffer[]> | Buffer[];
  proof(request: GetProofRequest): Promise<GetProofResponse>;
}

export function nodeService(cluster: string, port: NodePort): ControlService {
  return {
    definition: NodeServiceService,
    implementation: {
      status: guarded(cluster, ['operator', 'gateway'], () => port.status()),
      drain: guarded(cluster, ['operator'], () => {
        port.drain();
        return { draining: true };
      }),
    },
  };
}

export function evidenceService(cluster: string, port: EvidencePort): ControlService {
  return {
    definition: EvidenceServiceService,
    implementation: {
      getHeads: guarded(cluster, ['operator', 'auditor', 'gateway'], async () => ({ heads: await port.heads() })),
      getProof: guarded<GetProofRequest, GetProofResponse>(cluster, ['operator', 'auditor', 'gateway'], (request) =>
        port.proof(request),
      ),
    },
  };
}
