/** What every 503 says, whichever way it goes out. */
export const UNAVAILABLE = 'Service temporarily unavailable, please try again';
/** Its `Retry-After`, in seconds. */
export const RETRY_AFTER = 1;
