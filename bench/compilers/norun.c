/*
 * A Vulkan layer under which a driver compiles and does nothing else: commands are not recorded, submissions and waits
 * are done at once, and memory is the host's. Mesa's RADV makes a device for a GPU that is not there
 * (RADV_FORCE_FAMILY=navi31) and compiles for it in earnest, but it has no memory to give and no queue to run on: this
 * is what Dawn is shown in their place.
 *
 *     cc -shared -fPIC -Wall -Wextra -O1 -o libnorun.so norun.c      (Debian: libvulkan-dev has the headers)
 *
 * compile.ts builds it, and writes the manifest by which the loader finds it. One device at a time.
 */
#include <stdlib.h>
#include <string.h>
#include <vulkan/vk_layer.h>
#include <vulkan/vulkan.h>

#define HEAP_BYTES (1ull << 34)

static PFN_vkGetInstanceProcAddr nextInstanceProc;
static PFN_vkGetDeviceProcAddr nextDeviceProc;

static VkResult VKAPI_CALL createInstance(const VkInstanceCreateInfo *info, const VkAllocationCallbacks *allocator,
                                          VkInstance *instance) {
  VkLayerInstanceCreateInfo *link = (VkLayerInstanceCreateInfo *)info->pNext;
  while (link->sType != VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO || link->function != VK_LAYER_LINK_INFO)
    link = (VkLayerInstanceCreateInfo *)link->pNext;
  nextInstanceProc = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
  link->u.pLayerInfo = link->u.pLayerInfo->pNext;
  return ((PFN_vkCreateInstance)nextInstanceProc(NULL, "vkCreateInstance"))(info, allocator, instance);
}

static VkResult VKAPI_CALL createDevice(VkPhysicalDevice gpu, const VkDeviceCreateInfo *info,
                                        const VkAllocationCallbacks *allocator, VkDevice *device) {
  VkLayerDeviceCreateInfo *link = (VkLayerDeviceCreateInfo *)info->pNext;
  while (link->sType != VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO || link->function != VK_LAYER_LINK_INFO)
    link = (VkLayerDeviceCreateInfo *)link->pNext;
  PFN_vkGetInstanceProcAddr next = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
  nextDeviceProc = link->u.pLayerInfo->pfnNextGetDeviceProcAddr;
  link->u.pLayerInfo = link->u.pLayerInfo->pNext;
  return ((PFN_vkCreateDevice)next(NULL, "vkCreateDevice"))(gpu, info, allocator, device);
}

/* Memory: type 0 is the GPU's, and no more than a handle; type 1 is the host's, which Dawn maps and fills. */

static void VKAPI_CALL memoryProperties(VkPhysicalDevice gpu, VkPhysicalDeviceMemoryProperties *out) {
  (void)gpu;
  const VkMemoryPropertyFlags host = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  *out = (VkPhysicalDeviceMemoryProperties){
      .memoryHeapCount = 2,
      .memoryHeaps = {{HEAP_BYTES, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT}, {HEAP_BYTES, 0}},
      .memoryTypeCount = 2,
      .memoryTypes = {{VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, 0}, {host | VK_MEMORY_PROPERTY_HOST_CACHED_BIT, 1}},
  };
}

static void VKAPI_CALL memoryProperties2(VkPhysicalDevice gpu, VkPhysicalDeviceMemoryProperties2 *out) {
  memoryProperties(gpu, &out->memoryProperties);
}

static void VKAPI_CALL bufferRequirements(VkDevice device, VkBuffer buffer, VkMemoryRequirements *out) {
  ((PFN_vkGetBufferMemoryRequirements)nextDeviceProc(device, "vkGetBufferMemoryRequirements"))(device, buffer, out);
  out->memoryTypeBits = 3;
}

static void VKAPI_CALL bufferRequirements2(VkDevice device, const VkBufferMemoryRequirementsInfo2 *info,
                                           VkMemoryRequirements2 *out) {
  ((PFN_vkGetBufferMemoryRequirements2)nextDeviceProc(device, "vkGetBufferMemoryRequirements2"))(device, info, out);
  out->memoryRequirements.memoryTypeBits = 3;
}

static VkResult VKAPI_CALL allocateMemory(VkDevice device, const VkMemoryAllocateInfo *info,
                                          const VkAllocationCallbacks *allocator, VkDeviceMemory *memory) {
  (void)device, (void)allocator;
  void *bytes = calloc(1, info->memoryTypeIndex == 1 ? info->allocationSize : 1);
  *memory = (VkDeviceMemory)bytes;
  return bytes ? VK_SUCCESS : VK_ERROR_OUT_OF_DEVICE_MEMORY;
}

static void VKAPI_CALL freeMemory(VkDevice device, VkDeviceMemory memory, const VkAllocationCallbacks *allocator) {
  (void)device, (void)allocator;
  free((void *)memory);
}

static VkResult VKAPI_CALL mapMemory(VkDevice device, VkDeviceMemory memory, VkDeviceSize offset, VkDeviceSize size,
                                     VkMemoryMapFlags flags, void **data) {
  (void)device, (void)size, (void)flags;
  *data = (char *)memory + offset;
  return VK_SUCCESS;
}

/* Fences and semaphores, both of which are 64-bit handles and always signalled: any number but 0 will do. */
static VkResult VKAPI_CALL createSignal(VkDevice device, const void *info, const VkAllocationCallbacks *allocator,
                                        uint64_t *signal) {
  (void)device, (void)info, (void)allocator;
  *signal = 1;
  return VK_SUCCESS;
}

/* For functions of any arguments, with a result or without: the calling conventions of 64-bit machines allow it. */
static VkResult skip(void) { return VK_SUCCESS; }

static const char *const skipped[] = {
    "vkBeginCommandBuffer", "vkEndCommandBuffer", "vkFreeCommandBuffers", "vkResetCommandPool", "vkDestroyCommandPool",
    "vkQueueSubmit", "vkQueueSubmit2", "vkQueueWaitIdle", "vkDeviceWaitIdle", "vkDestroyDevice",
    "vkDestroyFence", "vkResetFences", "vkWaitForFences", "vkGetFenceStatus", "vkDestroySemaphore",
    "vkBindBufferMemory", "vkBindBufferMemory2", "vkUnmapMemory", "vkFlushMappedMemoryRanges",
    "vkInvalidateMappedMemoryRanges", "vkUpdateDescriptorSets",
};

static PFN_vkVoidFunction VKAPI_CALL instanceProc(VkInstance instance, const char *name);
static PFN_vkVoidFunction VKAPI_CALL deviceProc(VkDevice device, const char *name);

typedef PFN_vkVoidFunction Function;
static const struct {
  const char *name;
  Function function;
} replaced[] = {
    {"vkGetInstanceProcAddr", (Function)instanceProc},
    {"vkGetDeviceProcAddr", (Function)deviceProc},
    {"vkCreateInstance", (Function)createInstance},
    {"vkCreateDevice", (Function)createDevice},
    {"vkGetPhysicalDeviceMemoryProperties", (Function)memoryProperties},
    {"vkGetPhysicalDeviceMemoryProperties2", (Function)memoryProperties2},
    {"vkGetBufferMemoryRequirements", (Function)bufferRequirements},
    {"vkGetBufferMemoryRequirements2", (Function)bufferRequirements2},
    {"vkAllocateMemory", (Function)allocateMemory},
    {"vkFreeMemory", (Function)freeMemory},
    {"vkMapMemory", (Function)mapMemory},
    {"vkCreateFence", (Function)createSignal},
    {"vkCreateSemaphore", (Function)createSignal},
};

/* What stands here for the driver's function of that name, or NULL. Commands (vkCmd…) are all skipped. */
static PFN_vkVoidFunction replacement(const char *name) {
  for (size_t i = 0; i < sizeof replaced / sizeof *replaced; i++)
    if (!strcmp(name, replaced[i].name)) return replaced[i].function;
  for (size_t i = 0; i < sizeof skipped / sizeof *skipped; i++)
    if (!strcmp(name, skipped[i])) return (Function)skip;
  return strncmp(name, "vkCmd", 5) ? NULL : (Function)skip;
}

static PFN_vkVoidFunction VKAPI_CALL instanceProc(VkInstance instance, const char *name) {
  PFN_vkVoidFunction ours = replacement(name);
  return ours || !nextInstanceProc ? ours : nextInstanceProc(instance, name);
}

/* What the driver does not have, such as a command of an extension, must not seem to be there. */
static PFN_vkVoidFunction VKAPI_CALL deviceProc(VkDevice device, const char *name) {
  PFN_vkVoidFunction theirs = nextDeviceProc(device, name);
  PFN_vkVoidFunction ours = theirs ? replacement(name) : NULL;
  return ours ? ours : theirs;
}

VkResult VKAPI_CALL vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *version) {
  version->loaderLayerInterfaceVersion = 2;
  version->pfnGetInstanceProcAddr = instanceProc;
  version->pfnGetDeviceProcAddr = deviceProc;
  version->pfnGetPhysicalDeviceProcAddr = NULL;
  return VK_SUCCESS;
}
