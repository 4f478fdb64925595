import { join } from 'node:path';
import { GatewayError } from '../../core/kernel/errors.ts';
import { decodeHead } from '../../core/ledger/head.ts';
import { MerkleTree } from '../../core/ledger/merkle.ts';
import { decodeRecord } from '../../core/ledger/record.ts';
import { NodeDisk } from '../../core/runtime/node-disk.ts';
import { readJournal } from '../../core/runtime/writer/journal-reader.ts';
import type { GetProofRequest, GetProofResponse } from '../../proto/gen/chaperone/control/v1/evidence.ts';
import type { WorkerStatus } from '../../proto/gen/chaperone/control/v1/node.ts';
import type { EvidencePort } from '../control/node-service.ts';
import type { GatewayNode } from './gateway-node.ts';

/**
 * Heads and proofs from this node's own journals.
 *
 * Limit: a proof reads the whole journal of its writer, and only what is not yet archived and freed is there; proofs of
 * older records come from the archive (`chaperone evidence proof`).
 */
export class NodeEvidence implements EvidencePort {
  readonly #node: GatewayNode;
  readonly #directory: string;

  constructor(node: GatewayNode, dataDir: string) {
    this.#node = node;
    this.#directory = join(dataDir, 'journal');
  }

  heads(): Buffer[] {
    return [...this.#node.heads.values()];
  }

  async proof(request: GetProofRequest): Promise<GetProofResponse> {
    const head = this.#node.heads.get(request.writer);
    const index = Number(request.index);
    if (head === undefined) {
      throw new GatewayError('evidence_incomplete', 'this node has no writer of that id, or no head of it yet');
    }
    const { size, root } = decodeHead(head);
    if (index >= size) {
      throw new GatewayError('evidence_incomplete', `the newest signed head covers ${size} records`);
    }
    const tree = new MerkleTree();
    let body: Buffer | null = null;
    const disk = await NodeDisk.open(this.#directory);
    for await (const event of readJournal(disk, Buffer.from(request.writer, 'hex'))) {
      if (event.type !== 'record' || event.index !== tree.size) {
        continue;
      }
      tree.append(event.leafHash);
      body = event.index === index ? Buffer.from(event.body) : body;
      if (tree.size === size) {
        break;
      }
    }
    if (body === null || tree.size !== size) {
      throw new GatewayError('evidence_incomplete', 'the record is archived and no longer in the journal of this node');
    }
    if (!tree.root().equals(root)) {
      throw new GatewayError('evidence_altered', 'the journal does not give the root that was signed');
    }
    const { leaf, salt, meta } = decodeRecord(body);
    return { leaf, salt, meta, proof: tree.inclusionProof(index), head };
  }

  workers(): WorkerStatus[] {
    return this.#node.workerStatus();
  }
}
