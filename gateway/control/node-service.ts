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

export function nodeService(port: NodePort): ControlService {
  return {
    definition: NodeServiceService,
    implementation: {
      status: guarded(['operator', 'gateway'], () => port.status()),
      drain: guarded(['operator'], () => {
        port.drain();
        return { draining: true };
      }),
    },
  };
}

export function evidenceService(port: EvidencePort): ControlService {
  return {
    definition: EvidenceServiceService,
    implementation: {
      getHeads: guarded(['operator', 'auditor', 'gateway'], async () => ({ heads: await port.heads() })),
      getProof: guarded<GetProofRequest, GetProofResponse>(['operator', 'auditor', 'gateway'], (request) =>
        port.proof(request),
      ),
    },
  };
}
