/*
 * consumer_threads.c
 *	  How soundly librdkafka's threads sleep.
 *
 * A client has four of them and more, and each wakes every second, whether or
 * not there is anything to do.  Up to 2.4 the main one even spins through the
 * rest of a millisecond before each of its timers, which cost more than all
 * else that an idle stream did.  What comes from a socket or from another
 * thread wakes a thread at once, so it is no loss where nothing is going on if
 * a timeout ends late; Linux lets threads say by how much ("timer slack"), and
 * lets those that may be late wait for an occasion.
 *
 *		main			its timers are some hundred milliseconds or seconds apart
 *		internal		has no timers; is woken
 *		coordinator,	sound while they are connected or not wanted, for
 *		bootstrap		nothing is read over them
 *		broker			the same, and sound while connected once a fetch has
 *						waited in vain for as long as it may
 *
 * A connection that is being made or that brings messages is waited for as
 * exactly as ever.
 *
 * No other callbacks of ours run on librdkafka's threads.  These do nothing
 * but tell the kernel, and may do nothing that could throw.
 */
#include "postgres.h"

#ifdef __linux__
#include <sys/prctl.h>
#endif

#include "consumer_private.h"

#define NS_PER_MS 1000000UL

/* By how much timeouts may be late.  The least is more than the spin. */
#define LIGHT_NS (2 * NS_PER_MS)
#define MAIN_NS (2000 * NS_PER_MS)
#define SOUND_NS (4000 * NS_PER_MS)

#define API_FETCH 1				/* in Kafka's protocol */

/* What the current thread is; a thread that is not librdkafka's must be left alone. */
static __thread enum
{
	THREAD_FOREIGN,
	THREAD_MAIN,
	THREAD_INTERNAL,
	THREAD_BROKER
}			thread = THREAD_FOREIGN;

static __thread unsigned long slack = 0;

/* How long a fetch may wait at the broker. */
static int	fetch_wait_ms;

/* Lets the timeouts of the current thread be late. */
static void
sleep_as(unsigned long ns)
{
	if (slack == ns)
		return;
	slack = ns;
#ifdef PR_SET_TIMERSLACK
	(void) prctl(PR_SET_TIMERSLACK, ns, 0UL, 0UL, 0UL);
#endif
}

/* A thread begins. */
static rd_kafka_resp_err_t
on_thread_start(rd_kafka_t *rk, rd_kafka_thread_type_t type, const char *name, void *arg)
{
	if (type != RD_KAFKA_THREAD_BROKER)
	{
		thread = THREAD_MAIN;
		sleep_as(MAIN_NS);
	}
	else if (strstr(name, "/internal"))
	{
		thread = THREAD_INTERNAL;
		sleep_as(SOUND_NS);
	}
	else
	{
		thread = THREAD_BROKER;
		sleep_as(LIGHT_NS);
	}
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* A connection has another state; its own thread says so. */
static rd_kafka_resp_err_t
on_broker_state_change(rd_kafka_t *rk, int32_t broker, const char *protocol, const char *name,
					   int port, const char *state, void *arg)
{
	bool		unwanted = strcmp(state, "INIT") == 0;
	bool		without_messages = broker < 0 || strcmp(name, "GroupCoordinator") == 0;

	if (thread == THREAD_BROKER)
		sleep_as(unwanted || (without_messages && strcmp(state, "UP") == 0) ? SOUND_NS : LIGHT_NS);
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* A broker has answered, after rtt microseconds. */
static rd_kafka_resp_err_t
on_response_received(rd_kafka_t *rk, int socket, const char *name, int32_t broker, int16_t api,
					 int16_t version, int32_t correlation, size_t size, int64_t rtt,
					 rd_kafka_resp_err_t err, void *arg)
{
	bool		in_vain = rtt >= INT64CONST(900) * fetch_wait_ms && !err;

	if (thread == THREAD_BROKER && api == API_FETCH)
		sleep_as(in_vain ? SOUND_NS : LIGHT_NS);
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* A client begins, in the thread that wants it. */
static rd_kafka_resp_err_t
on_new(rd_kafka_t *rk, const rd_kafka_conf_t *conf, void *arg, char *errbuf, size_t errlen)
{
	(void) rd_kafka_interceptor_add_on_thread_start(rk, "pg_weir", on_thread_start, NULL);
	(void) rd_kafka_interceptor_add_on_broker_state_change(rk, "pg_weir", on_broker_state_change, NULL);
	(void) rd_kafka_interceptor_add_on_response_received(rk, "pg_weir", on_response_received, NULL);
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* Has the threads of a client to be sleep as soundly as they can. */
void
weir_consumer_calm_threads(rd_kafka_conf_t *conf, int longest_fetch_ms)
{
	fetch_wait_ms = longest_fetch_ms;
	(void) rd_kafka_conf_interceptor_add_on_new(conf, "pg_weir", on_new, NULL);
}
