import { startSealSigner } from '../audit/seal-signer.ts';
import { signingKey } from '../audit/signing.ts';
import type { Core } from './core.ts';

/** Signs the audit trail's seals beside the projector that makes them, when there is a key. */
export function openSealSigner({ config, database, logger, releasers }: Core): void {
  if (config.auditKey === null) return;
  const signer = startSealSigner({ database, logger, key: signingKey(config.auditKey) });
  releasers.push('seal signer', () => signer.stop());
}
