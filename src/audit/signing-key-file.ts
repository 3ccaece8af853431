import { createPrivateKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { errorMessage, StartupError } from '../errors.ts';

/**
 * An Ed25519 private key: PEM, PKCS #8, without a passphrase.
 * @param variable that names the file, for messages
 * @throws StartupError, without a word of what is in the file
 */
export function readSigningKey(variable: string, file: string): KeyObject {
  const name = `${variable} ${file}`;
  let pem: string;
  try {
    pem = readFileSync(file, 'utf8');
  } catch (error) {
    throw new StartupError(`${name} cannot be read: ${errorMessage(error)}`);
  }
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch {
    throw new StartupError(`${name} holds no private key in PEM form without a passphrase`);
  }
  if (key.asymmetricKeyType === 'ed25519') return key;
  throw new StartupError(`${name} holds a key of type ${key.asymmetricKeyType}: it has to be Ed25519`);
}
