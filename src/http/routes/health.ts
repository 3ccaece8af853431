import { Router } from 'express';
import type { Readiness } from '../../queries/readiness.ts';
import { RETRY_AFTER } from '../unavailable.ts';

/** `/healthz` says that the process is alive, `/readyz` whether it can serve, part by part. */
export function healthRoutes(readiness: () => Promise<Readiness>): Router {
  const router = Router();
  router.use((_req, res, next) => {
    res.set('Cache-Control', 'no-store');
    next();
  });

  router.get('/healthz', (_req, res) => {
    res.json({ status: 'alive' });
  });

  router.get('/readyz', async (_req, res) => {
    const { ready, parts } = await readiness();
    if (!ready) res.set('Retry-After', String(RETRY_AFTER));
    res.status(ready ? 200 : 503).json({ status: ready ? 'ready' : 'not ready', parts });
  });

  return router;
}
