// What a CPU build of torch lacks for tensors that say "cuda": a device guard and hooks, both of which do nothing.
// The hooks' class must have this name, which is the key of their registry; streams and devices are number 0, since
// autograd's engine indexes arrays by them.
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/alloc_cpu.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <set>

using c10::Device, c10::DeviceIndex, c10::DeviceType, c10::EventFlag, c10::Stream;

struct Guard final : c10::impl::NoOpDeviceGuardImpl<DeviceType::CUDA> {
  Device getDevice() const override { return Device(DeviceType::CUDA, 0); }
  Device exchangeDevice(Device) const override { return getDevice(); }
  Stream first() const { return Stream(Stream::DEFAULT, getDevice()); }
  Stream getStream(Device) const noexcept override { return first(); }
  Stream getDefaultStream(Device) const override { return first(); }
  Stream getNewStream(Device, int) const override { return first(); }
  Stream exchangeStream(Stream) const noexcept override { return first(); }
  void record(void** event, const Stream&, const DeviceIndex, const EventFlag) const override {
    static int any;
    *event = &any;
  }
  void block(void*, const Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void synchronizeEvent(void*) const override {}
  void destroyEvent(void*, const DeviceIndex) const noexcept override {}
};
static c10::impl::DeviceGuardImplRegistrar guard(DeviceType::CUDA, new Guard());

// Memory of the host that knows it is pinned: a copy into it is one for which nobody waits.
struct Pinned final : at::Allocator {
  static inline std::set<const void*> known;
  static void free(void* data) {
    known.erase(data);
    c10::free_cpu(data);
  }
  at::DataPtr allocate(size_t bytes) override {
    void* data = c10::alloc_cpu(bytes);
    known.insert(data);
    return {data, data, &free, Device(DeviceType::CPU)};
  }
  at::DeleterFnPtr raw_deleter() const override { return &free; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { default_copy_data(to, from, bytes); }
};
static Pinned pinned;

struct CUDAHooks final : at::CUDAHooksInterface {
  explicit CUDAHooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool hasCUDA() const override { return true; }
  bool isAvailable() const override { return true; }
  bool isBuilt() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  DeviceIndex deviceCount() const override { return 1; }
  void setCurrentDevice(DeviceIndex) const override {}
  DeviceIndex getCurrentDevice() const override { return 0; }
  at::Allocator* getPinnedMemoryAllocator() const override { return &pinned; }
  bool isPinnedPtr(const void* data) const override { return data && pinned.known.count(data); }
};
using at::CUDAHooksRegistry;
using at::RegistererCUDAHooksRegistry;
REGISTER_CUDA_HOOKS(CUDAHooks);
