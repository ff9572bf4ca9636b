/** The variable by which a worker tells its children how they are to work: Setting, the store's name and its id, in JSON. */
export const SETTING = "TEMPLORA_WORKER_SETTING";
