import { type WebGpuPass, grid } from "../kernel.ts";
export const forwardPlan = ({T,H}: {T:number,H:number}): readonly WebGpuPass[] => [{source: "attention.wgsl", overrides: {GROUP: 32}, groups: grid(Math.ceil(T/128)*H)}];
export const forwardScratch = () => ({});
export const deltaPlan = (): readonly WebGpuPass[] => [];
export const backwardQPlan = (): readonly WebGpuPass[] => [];
export const backwardKVPlan = (): readonly WebGpuPass[] => [];
