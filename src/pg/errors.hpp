// The SQLSTATEs of class IL, and the exception that becomes an ERROR at the wall.
//
// Runs in: backends. C++ code throws SqlError; pg/boundary.hpp turns it into ereport(ERROR) once
// every destructor has run. Class letters I to Z are free for implementations by the SQL standard.

#pragma once

#include "pg/postgres.hpp"

namespace inventory_lock::pg {

inline constexpr int kInsufficientStock = MAKE_SQLSTATE('I', 'L', '0', '0', '1');
inline constexpr int kStockItemNotFound = MAKE_SQLSTATE('I', 'L', '0', '0', '2');
inline constexpr int kInvalidQuantity = MAKE_SQLSTATE('I', 'L', '0', '0', '3');
inline constexpr int kExpectedQuantityMismatch = MAKE_SQLSTATE('I', 'L', '0', '0', '4');
inline constexpr int kPurchaseLimitExceeded = MAKE_SQLSTATE('I', 'L', '0', '0', '5');
inline constexpr int kLockWaitTimeout = MAKE_SQLSTATE('I', 'L', '0', '1', '0');
inline constexpr int kLockLost = MAKE_SQLSTATE('I', 'L', '0', '1', '1');
inline constexpr int kLockServiceUnavailable = MAKE_SQLSTATE('I', 'L', '0', '1', '2');
inline constexpr int kTooManyWaiters = MAKE_SQLSTATE('I', 'L', '0', '1', '3');
inline constexpr int kIdempotencyRequestInProgress = MAKE_SQLSTATE('I', 'L', '0', '2', '0');
inline constexpr int kIdempotencyKeyReused = MAKE_SQLSTATE('I', 'L', '0', '2', '1');
inline constexpr int kIdempotencyKeyInvalid = MAKE_SQLSTATE('I', 'L', '0', '2', '2');
inline constexpr int kReservationNotFound = MAKE_SQLSTATE('I', 'L', '0', '3', '0');
inline constexpr int kReservationExpired = MAKE_SQLSTATE('I', 'L', '0', '3', '1');
inline constexpr int kReservationAlreadyConfirmed = MAKE_SQLSTATE('I', 'L', '0', '3', '2');
inline constexpr int kReservationAlreadyReleased = MAKE_SQLSTATE('I', 'L', '0', '3', '3');
inline constexpr int kOrderNotFound = MAKE_SQLSTATE('I', 'L', '0', '4', '0');
inline constexpr int kOrderNotCancellable = MAKE_SQLSTATE('I', 'L', '0', '4', '1');
inline constexpr int kCancelQuantityExceedsRemaining = MAKE_SQLSTATE('I', 'L', '0', '4', '2');
inline constexpr int kBindingNotFound = MAKE_SQLSTATE('I', 'L', '0', '5', '0');
inline constexpr int kBindingInvalid = MAKE_SQLSTATE('I', 'L', '0', '5', '1');

// An ERROR on its way to the wall. The message follows PostgreSQL's style (lower case, no full
// stop); detail and hint are full sentences, empty when there is none. All text is in the server
// encoding.
class SqlError final : public std::exception {
  public:
    SqlError(int sqlstate, std::string message, std::string detail = {}, std::string hint = {})
        : sqlstate_(sqlstate),
          message_(std::move(message)),
          detail_(std::move(detail)),
          hint_(std::move(hint)) {}

    int sqlstate() const noexcept { return sqlstate_; }
    const std::string &message() const noexcept { return message_; }
    const std::string &detail() const noexcept { return detail_; }
    const std::string &hint() const noexcept { return hint_; }
    const char *what() const noexcept override { return message_.c_str(); }

  private:
    int sqlstate_;
    std::string message_;
    std::string detail_;
    std::string hint_;
};

}  // namespace inventory_lock::pg
