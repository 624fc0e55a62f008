// The table of contents: what happens when the library is loaded.
//
// Runs in: the postmaster, when preloaded; otherwise every backend that calls a function of ours.
// Not preloaded, there is no shared memory and no worker: all functions work on database locks
// alone, and say so.

#include "locking/transaction_end.hpp"
#include "pg/postgres.hpp"
#include "pg/settings.hpp"
#include "redis/address.hpp"
#include "shared/state.hpp"
#include "worker/worker.hpp"

namespace {

using inventory_lock::pg::settings::UrlProblem;

// Judges a redis_url, or a redis_replica_url, for the setting's check hook.
bool CheckUrl(const char *url, bool replica, UrlProblem *problem) {
    using inventory_lock::redis::AddressProblem;
    try {
        const auto parsed = inventory_lock::redis::ParseAddress(url, !replica);
        const auto *wrong = std::get_if<AddressProblem>(&parsed);
        if (wrong == nullptr) {
            return true;
        }
        strlcpy(problem->message, wrong->message.c_str(), sizeof(problem->message));
        strlcpy(problem->hint, wrong->hint.c_str(), sizeof(problem->hint));
        problem->feature_missing = wrong->feature_missing;
    } catch (...) {
        strlcpy(problem->message, "Out of memory.", sizeof(problem->message));
        problem->hint[0] = '\0';
        problem->feature_missing = false;
    }
    return false;
}

}  // namespace

extern "C" {

IL_MODULE_MAGIC("inventory_lock", IL_VERSION);

PGDLLEXPORT void _PG_init(void) {
    const bool preloading = process_shared_preload_libraries_in_progress;
    inventory_lock::pg::settings::Define(CheckUrl, preloading);
    inventory_lock::locking::InstallTransactionCallbacks();
    if (!preloading || IsBinaryUpgrade) {
        return;
    }
    inventory_lock::shared::InstallHooks();
    inventory_lock::worker::Register();
}
}
