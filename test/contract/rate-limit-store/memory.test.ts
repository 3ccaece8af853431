import { MemoryStore } from 'express-rate-limit';
import { describeRateLimitStore } from './describe-rate-limit-store.ts';

describeRateLimitStore('memory', () => {
  const stores: MemoryStore[] = [];
  return Promise.resolve({
    create() {
      const store = new MemoryStore();
      stores.push(store);
      return store;
    },
    dispose() {
      for (const store of stores) store.shutdown();
      return Promise.resolve();
    },
  });
});
