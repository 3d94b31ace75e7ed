DROP TABLE sms_counts;
