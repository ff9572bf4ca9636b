/** The parity constant of Threefry's key schedule (Skein's C240, its low half). */
export const PARITY = 0x1bd11bda;
