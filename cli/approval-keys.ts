import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { JsonValue } from '../core/kernel/canonical-json.ts';
import { GatewayError } from '../core/kernel/errors.ts';
import type { Config } from '../core/runtime/config/config-schema.ts';
import { openPreview } from '../gateway/contract/approval-preview.ts';
import type { ApprovalView } from '../proto/gen/chaperone/control/v1/approval.ts';
import { demoKeyFile, type PrivateKeyFile, readPrivateJwk } from './key-file.ts';

export interface OpenedApproval {
  readonly signingKey: PrivateKeyFile;
  /** What will run, with its literals; its hash is the one that the approval names. */
  readonly preview: Readonly<Record<string, JsonValue>>;
}

/**
 * The approver's keys, and the preview opened with them on this machine. Rejects `approval_not_eligible` when no preview
 * was sealed for that person's key, `approval_signature` when it is not the preview that the approval names.
 */
export async function openWithKeys(
  view: ApprovalView,
  person: string,
  options: { readonly key?: string; readonly previewKey?: string },
  config: Config,
): Promise<OpenedApproval> {
  const keyPath = options.key === undefined ? demoKeyFile(config, person, 'ed25519') : resolve(options.key);
  if (keyPath === undefined) {
    throw new GatewayError('config_invalid', `--key is needed: the private Ed25519 key of ${person}`);
  }
  const signingKey = readPrivateJwk(keyPath, 'Ed25519', config.env);
  const previewPath = options.previewKey === undefined ? siblingOf(keyPath) : resolve(options.previewKey);
  if (previewPath === undefined) {
    throw new GatewayError('config_invalid', `--preview-key is needed: the private X25519 key of ${person}`);
  }
  const { key: x25519, keyId } = readPrivateJwk(previewPath, 'X25519', config.env);
  const sealed = view.previews.find((preview) => preview.person === person && preview.keyId === keyId);
  if (sealed === undefined) {
    const isApprover = view.approvers.includes(person);
    throw new GatewayError(
      'approval_not_eligible',
      isApprover ? `the key ${keyId} is not enrolled for ${person}` : `${person} is not an approver of this operation`,
    );
  }
  const preview = await openPreview(
    { enc: Buffer.from(sealed.enc), ciphertext: Buffer.from(sealed.ciphertext) },
    { approvalId: view.id, keyId, x25519 },
    Buffer.from(view.previewHash),
  );
  return { signingKey, preview };
}

/** `pat.ed25519.jwk.json` -> `pat.x25519.jwk.json` in the same folder. */
function siblingOf(keyPath: string): string | undefined {
  const sibling = keyPath.replace(/\.ed25519(\.[^/]*)$/, '.x25519$1');
  return sibling !== keyPath && existsSync(sibling) ? sibling : undefined;
}
