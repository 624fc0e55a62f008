// SHA-1 of a text, at compile time: the names by which EVALSHA calls our scripts.
//
// Runs in: the compiler; pure C++. It identifies scripts and protects nothing. Algorithm: FIPS
// 180-4, section 6.1. Being constexpr it needs no start-up code and no library.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace inventory_lock::redis {

// The 40 lower-case hex digits of SHA-1(text). Neither throws nor allocates.
constexpr std::array<char, 40> Sha1Hex(std::string_view text) {
    constexpr auto rotate = [](uint32_t x, int n) { return (x << n) | (x >> (32 - n)); };
    uint32_t state[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    const size_t blocks = (text.size() + 8) / 64 + 1;
    const uint64_t bits = uint64_t{text.size()} * 8;

    // Byte i of the padded message: the text, 0x80, zeros, and the length in bits, big-endian.
    auto padded = [&](size_t i) -> uint32_t {
        if (i < text.size()) {
            return static_cast<unsigned char>(text[i]);
        }
        if (i == text.size()) {
            return 0x80;
        }
        const size_t from_end = blocks * 64 - 1 - i;
        return from_end < 8 ? static_cast<uint32_t>(bits >> (8 * from_end)) & 0xFF : 0;
    };

    for (size_t block = 0; block < blocks; block++) {
        uint32_t w[80] = {};
        for (size_t t = 0; t < 16; t++) {
            const size_t at = block * 64 + t * 4;
            w[t] = padded(at) << 24 | padded(at + 1) << 16 | padded(at + 2) << 8 | padded(at + 3);
        }
        for (size_t t = 16; t < 80; t++) {
            w[t] = rotate(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
        }
        uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
        for (size_t t = 0; t < 80; t++) {
            uint32_t f = 0, k = 0;
            if (t < 20) {
                f = (b & c) | (~b & d);
                k = 0x5A827999;
            } else if (t < 40) {
                f = b ^ c ^ d;
                k = 0x6ED9EBA1;
            } else if (t < 60) {
                f = (b & c) | (b & d) | (c & d);
                k = 0x8F1BBCDC;
            } else {
                f = b ^ c ^ d;
                k = 0xCA62C1D6;
            }
            const uint32_t next = rotate(a, 5) + f + e + k + w[t];
            e = d;
            d = c;
            c = rotate(b, 30);
            b = a;
            a = next;
        }
        state[0] += a;
        state[1] += b;
        state[2] += c;
        state[3] += d;
        state[4] += e;
    }

    std::array<char, 40> hex{};
    for (size_t i = 0; i < hex.size(); i++) {
        const uint32_t nibble = state[i / 8] >> (28 - 4 * (i % 8)) & 0xF;
        hex[i] = static_cast<char>(nibble < 10 ? '0' + nibble : 'a' + nibble - 10);
    }
    return hex;
}

}  // namespace inventory_lock::redis
