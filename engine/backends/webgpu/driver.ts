/** Whether Dawn would find a Vulkan driver on this machine, under Node. */
import { DeviceError } from "../../errors.ts";
import { existsSync, homedir, join, readdirSync } from "../host/files.ts";

/** Where drivers are installed; the last is NixOS's. */
const SYSTEM_FOLDERS = "/etc/xdg:/etc:/usr/local/etc:/usr/local/share:/usr/share:/run/opengl-driver/share";

/**
 * Dawn without a Vulkan driver prints warnings of its own, with native stack frames. On Linux one can see beforehand
 * that there is none: the loader finds drivers by their manifests.
 * https://github.com/KhronosGroup/Vulkan-Loader/blob/main/docs/LoaderDriverInterface.md#driver-discovery
 */
export function assertVulkanDriver(
  env: Readonly<Record<string, string | undefined>> = process.env,
  root = "",
): void {
  if (process.platform !== "linux") return;
  const paths = (value: string | undefined): string[] =>
    (value ?? "").split(":").filter((path) => path !== "");
  // Named drivers stand for all others; added ones do not, and are ignored beside named ones.
  const named = paths(env["VK_DRIVER_FILES"] ?? env["VK_ICD_FILENAMES"]);
  const added = paths(env["VK_ADD_DRIVER_FILES"]);
  const home = env["HOME"] ?? homedir();
  const searched = [
    ...[env["XDG_CONFIG_HOME"] ?? join(home, ".config"), ...paths(env["XDG_CONFIG_DIRS"])],
    ...[env["XDG_DATA_HOME"] ?? join(home, ".local/share"), ...paths(env["XDG_DATA_DIRS"])],
    ...paths(SYSTEM_FOLDERS).map((folder) => join(root, folder)),
  ];
  const hasManifest = (folder: string): boolean => {
    const manifests = join(folder, "vulkan/icd.d");
    return existsSync(manifests) && readdirSync(manifests).some((name) => name.endsWith(".json"));
  };
  if (named.length > 0) {
    if (named.some((path) => existsSync(path))) return;
    throw new DeviceError(
      `webgpu: no Vulkan driver at ${named.join(", ")}; correct VK_DRIVER_FILES or use device "cpu"`,
    );
  }
  if (added.some((path) => existsSync(path)) || searched.some(hasManifest)) return;
  throw new DeviceError(
    'webgpu: no Vulkan driver found; install one (mesa-vulkan-drivers, for instance) or use device "cpu"',
  );
}
