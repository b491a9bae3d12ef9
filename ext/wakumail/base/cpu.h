/* The instructions of this processor. They are asked of it once, when the module is loaded:
   __builtin_cpu_supports is always false with the run-time library of some compilers. */
#ifndef WAKUMAIL_CPU_H
#define WAKUMAIL_CPU_H

#include <stdbool.h>
#include <stdint.h>

static struct {
    bool aes;
    bool bmi;                   /* BMI1 and BMI2 */
    bool avx2;
    bool avx512;                /* AVX-512 F and VL */
} cpu_has;

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>

#define CPU_YMM_SAVED 0x06      /* bits of XCR0: registers that the system saves */
#define CPU_ZMM_SAVED 0xe6

static bool cpu_all(uint32_t word, uint32_t bits)
{
    return (word & bits) == bits;
}

__attribute__((constructor)) static void cpu_ask(void)
{
    uint32_t a, b, c, d, saved = 0, high;
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return;
    cpu_has.aes = cpu_all(c, bit_AES);
    if (cpu_all(c, bit_OSXSAVE))
        __asm__ volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return;
    cpu_has.bmi = cpu_all(b, bit_BMI | bit_BMI2);
    cpu_has.avx2 = cpu_all(b, bit_AVX2) && cpu_all(saved, CPU_YMM_SAVED);
    cpu_has.avx512 = cpu_all(b, bit_AVX512F | (uint32_t) bit_AVX512VL)
        && cpu_all(saved, CPU_ZMM_SAVED);
}
#endif

#endif
