/*
 * server.h
 *	  PostgreSQL's code in a process that is no server.
 */
#ifndef FUZZ_SERVER_H
#define FUZZ_SERVER_H

#include "postgres.h"

extern void server_start(void);
extern void server_keep(void);
extern void server_clear(void);

#endif							/* FUZZ_SERVER_H */
