import type { IncomingMessage } from 'node:http';

/** The subprotocol that is answered when a client offers it; its other offer is then the credential. */
export const SUBPROTOCOL = 'asyncly';
const BEARER_PREFIX = 'bearer.';

export function isWebSocketUpgrade(req: IncomingMessage): boolean {
  return req.headers.upgrade?.toLowerCase() === 'websocket';
}

/**
 * The access token or API key of an upgrade request: `?token=`, `Authorization: Bearer`, `X-API-Key`, or, for browsers that
 * are not to show it in an address, the subprotocols `asyncly, bearer.<token>`.
 */
export function credentialOf(req: IncomingMessage): string | null {
  const { headers } = req;
  const apiKey = headers['x-api-key'];
  const [, query = ''] = (req.url ?? '').split('?', 2);
  return (
    new URLSearchParams(query).get('token') ||
    /^Bearer +(\S+) *$/i.exec(headers.authorization ?? '')?.[1] ||
    (typeof apiKey === 'string' && apiKey) ||
    credentialIn(headers['sec-websocket-protocol']) ||
    null
  );
}

function credentialIn(offered = ''): string | undefined {
  const protocols = offered.split(',').map((protocol) => protocol.trim());
  const bearer = protocols.find((protocol) => protocol.startsWith(BEARER_PREFIX));
  if (bearer !== undefined) return bearer.slice(BEARER_PREFIX.length);
  return protocols.includes(SUBPROTOCOL) ? protocols.find((protocol) => protocol !== SUBPROTOCOL) : undefined;
}

/**
 * Whether a page may open the socket: browsers do not keep pages of other sites from it, and name the page's origin. Programs
 * send none.
 * @param allowed origins such as `https://app.example.com` beside the service's own host
 */
export function isOriginAllowed(req: IncomingMessage, allowed: readonly string[]): boolean {
  const { origin, host } = req.headers;
  if (origin === undefined) return true;
  try {
    const page = new URL(origin);
    // The same scheme for both, so that a default port is left out of both.
    return allowed.includes(page.origin) || page.host === new URL(`${page.protocol}//${host}`).host;
  } catch {
    return false;
  }
}
