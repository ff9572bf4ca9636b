/** Whether Dawn would find a Vulkan driver on this machine, under Node. */
import { DeviceError } from "../../errors.ts";
import { existsSync, homedir, join, readdirSync } from "../host/files.ts";

/**
 * Dawn without a Vulkan driver prints warnings of its own, with native stack frames. On Linux one can see beforehand
 * that there is none: the loader finds drivers by their manifests.
 * https://github.com/KhronosGroup/Vulkan-Loader/blob/main/docs/LoaderDriverInterface.md#driver-discovery
 */
export function assertVulkanDriver(env: Readonly<Record<string, string | undefined>> = process.env): void {
  if (process.platform !== "linux") return;
  const paths = (value: string | undefined): string[] =>
    (value ?? "").split(":").filter((path) => path !== "");
  const given = [
    ...paths(env["VK_DRIVER_FILES"] ?? env["VK_ICD_FILENAMES"]),
    ...paths(env["VK_ADD_DRIVER_FILES"]),
  ];
  const home = env["HOME"] ?? homedir();
  const searched = [
    ...[
      env["XDG_CONFIG_HOME"] ?? join(home, ".config"),
      ...paths(env["XDG_CONFIG_DIRS"] ?? "/etc/xdg"),
      "/etc",
    ],
    ...[env["XDG_DATA_HOME"] ?? join(home, ".local/share"), ...paths(env["XDG_DATA_DIRS"])],
    ...["/usr/local/etc", "/usr/local/share", "/usr/share", "/run/opengl-driver/share"],
  ];
  const hasManifest = (folder: string): boolean => {
    const manifests = join(folder, "vulkan/icd.d");
    return existsSync(manifests) && readdirSync(manifests).some((name) => name.endsWith(".json"));
  };
  if (given.some((path) => existsSync(path))) return;
  if (given.length === 0 && searched.some(hasManifest)) return;
  throw new DeviceError(
    given.length > 0
      ? `webgpu: no Vulkan driver at ${given.join(", ")}; correct VK_DRIVER_FILES or use device "cpu"`
      : 'webgpu: no Vulkan driver found; install one (mesa-vulkan-drivers, for instance) or use device "cpu"',
  );
}
