"""Declares the parts of POSIX threads that the kernels use."""

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_t:
        pass
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass
    ctypedef struct pthread_rwlock_t:
        pass
    int pthread_create(pthread_t *thread, const void *attributes,
                       void *(*run)(void *) noexcept nogil, void *context)
    int pthread_join(pthread_t thread, void **result)
    int pthread_mutex_init(pthread_mutex_t *lock, const void *attributes)
    int pthread_mutex_lock(pthread_mutex_t *lock)
    int pthread_mutex_trylock(pthread_mutex_t *lock)
    int pthread_mutex_unlock(pthread_mutex_t *lock)
    int pthread_mutex_destroy(pthread_mutex_t *lock)
    int pthread_cond_init(pthread_cond_t *due, const void *attributes)
    int pthread_cond_wait(pthread_cond_t *due, pthread_mutex_t *lock)
    int pthread_cond_signal(pthread_cond_t *due)
    int pthread_cond_broadcast(pthread_cond_t *due)
    int pthread_cond_destroy(pthread_cond_t *due)
    int pthread_rwlock_rdlock(pthread_rwlock_t *lock)
    int pthread_rwlock_tryrdlock(pthread_rwlock_t *lock)
    int pthread_rwlock_wrlock(pthread_rwlock_t *lock)
    int pthread_rwlock_unlock(pthread_rwlock_t *lock)
    int pthread_rwlock_destroy(pthread_rwlock_t *lock)
