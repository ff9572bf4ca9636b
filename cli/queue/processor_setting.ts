/** The variable by which a worker tells its children how they are to work: Setting and the store's name, in JSON. */
export const SETTING = "TEMPLORA_WORKER_SETTING";
